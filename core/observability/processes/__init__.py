"""Processes of one host: the supervisor and its children, listening sockets, calls from a worker to the hub."""
