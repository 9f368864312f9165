"""The demo: a paper strategy that trades on simulated or replayed quotes, at a venue that fills its orders on paper."""
