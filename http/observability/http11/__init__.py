"""HTTP/1.1 without sockets: bytes in, requests out; responses in, bytes out.

`parser.py` is the way in and `messages.py` the way out; every answer that says no is a class in `refusals.py`.
"""
