"""Our own log: how it is set up, and the last lines of every process."""
