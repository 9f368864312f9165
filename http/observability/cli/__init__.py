"""The command `observability`."""
