"""Orders and what they cost: life cycles, fill and reject rates, latency legs, slippage, shortfall, markouts."""
