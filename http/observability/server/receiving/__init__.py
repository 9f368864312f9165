"""The processes that receive what the hubs of other hosts publish: the edge, and the aggregator of several desks."""
