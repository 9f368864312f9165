"""The processes of one host: supervisor and children, their listening sockets, calls from a worker to the hub.

Nothing here knows what a hub or a worker does.
"""
