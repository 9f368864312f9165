"""Notifications: the transitions of alerts, delivered to people over the channels that routes name."""
