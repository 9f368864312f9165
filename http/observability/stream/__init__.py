"""The stream of snapshots to dashboards: subscriptions, views, the broadcast of each tick, and the lossless lanes.

`broadcast.py` skips a client that is too slow; `subscriber.py` decides what it is sent next.
"""
