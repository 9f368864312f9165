"""The market per symbol: touch, volumes, spreads, feed latency, staleness, 1-minute bars."""
