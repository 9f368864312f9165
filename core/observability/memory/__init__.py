"""Memory that processes share: the mapping and its layout, rings of checked records, append-only logs, counters.
Each word has one writer at a time, and no reader ever waits.
"""
