"""The host and the trading system's components: CPU, memory, loop lag, heartbeats, user metrics, health."""
