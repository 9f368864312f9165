"""SQLite on disk: the file and its schema, the thread that writes it, readers, pruning, checkpoints."""
