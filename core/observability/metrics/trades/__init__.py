"""Our trades: the record of all fills, their statistics, and queries over those in the store."""
