"""The data path: from an event to the frame every dashboard gets.

No sockets here; the protocol layer is `observability.http`.
"""
