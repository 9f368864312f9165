"""The host and the trading system's components: CPU, memory, event loop lag, heartbeats, user metrics, health."""
