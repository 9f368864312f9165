"""WebSocket (RFC 6455): the handshake, extensions, one connection's frames, compression, closing."""
