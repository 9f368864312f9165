"""Who may do what, how often, and how many at a time."""
