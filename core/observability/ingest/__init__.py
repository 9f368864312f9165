"""Events from senders: batches are decoded, published in order, and answered once what must be durable is on disk.

Arguments and answers are plain values, so that a batch can come from any transport and from another process.
"""
