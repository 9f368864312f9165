"""Events from senders over HTTP and WebSocket."""
