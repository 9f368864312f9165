"""Our orders as people look them up: the log of their reports, the life of an order, and queries over those in memory
and in the store."""
