"""The REST API: the documents that the hub publishes, history, trades, and the system; and its OpenAPI description."""
