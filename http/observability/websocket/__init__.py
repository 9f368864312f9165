"""WebSocket (RFC 6455): the base of all endpoints, the handshake, extensions, connections, compression, close codes."""
