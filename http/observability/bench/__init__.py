"""`observability bench`: measures the server in one run beside peers that do the same work, and beside a
floor in C."""
