"""Which hub of a desk leads: the lease, the log of what it commits, and the hub that follows it and takes its place."""
