"""Several machines: what the hub of a desk publishes over NATS JetStream, and how edges on other hosts receive it."""
