"""Strategies: positions, P&L, drawdown, returns, and differences to the engine's own view."""
