"""Snapshots to dashboards: subscriptions, views, the broadcast of each tick, and the lossless lanes."""
