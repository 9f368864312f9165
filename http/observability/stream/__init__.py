"""The stream of snapshots to dashboards: subscriptions, views, the broadcast of each tick, and the lossless lanes."""
