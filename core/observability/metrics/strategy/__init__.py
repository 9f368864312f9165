"""The strategy section: positions, P&L, drawdown, returns, and differences to the positions that the engine reports.

`position.py` computes P&L.
"""
