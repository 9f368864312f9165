"""Alert rules and the alerts they raise: the rule file, the paths a rule can watch, the life of an alert."""
