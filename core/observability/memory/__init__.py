"""Memory that processes share: the mapping and its layout, checked records, append-only logs, counters."""
