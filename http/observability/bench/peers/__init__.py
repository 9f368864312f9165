"""Small servers of the same work, for comparison: the snapshot ten times a second at /ws/metrics, and two documents."""
