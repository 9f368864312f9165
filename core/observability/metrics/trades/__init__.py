"""Our trades: the log of recent fills, their statistics, and queries over those in memory and in the store."""
