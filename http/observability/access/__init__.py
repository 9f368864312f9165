"""Who may do what, how often, and how many at a time.

Tokens, roles and origins are in `authorization.py`; addresses, rates and limits have a module each.
"""
