"""SQLite on disk: the file and its schema, the thread that writes it, readers, pruning, backups, and the checkpoint
from which a restart continues. Rows are acknowledged once they are on disk.
"""
