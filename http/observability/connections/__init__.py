"""TCP and TLS connections: the listening port, one connection's life, certificates."""
