"""Alert rules and the alerts that they raise: the rule file, the metrics a rule can watch, the states of an alert.

`rule.py` decides when a rule raises an alert; `book.py` keeps the alerts.
"""
