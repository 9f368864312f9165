"""The market data section: the touch, volumes, spread, feed latency and 1-minute bars of each symbol."""
