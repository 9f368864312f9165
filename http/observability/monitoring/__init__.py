"""The server about itself: health and status, latencies along its own path, staleness, Prometheus exposition."""
