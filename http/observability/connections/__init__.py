"""TCP and TLS connections: the listening port, the life of one connection, and certificates.

Start with `states.py`, the life of a connection as a table.
"""
