"""HTTP/1.1 without a socket: grammar, request heads and bodies, refusals, responses."""
