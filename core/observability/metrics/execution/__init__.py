"""Orders and what they cost: states, fill and reject rates, latencies, slippage, shortfall, spreads, markouts.

`quality.py` defines every figure.
"""
