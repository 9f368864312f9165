"""The server about itself: its own figures, path latency, staleness, Prometheus exposition."""
