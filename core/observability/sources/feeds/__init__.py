"""Exchanges: public trades and best bid and ask over their WebSocket feeds, and captures of these."""
