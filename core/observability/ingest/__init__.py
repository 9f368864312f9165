"""Events from senders: decoded one by one, taken as batches, and answered once they are on disk."""
