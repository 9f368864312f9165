"""The protocol layer: strict HTTP/1.1 and WebSocket on uvloop, and the routes behind them."""
