"""The demo: a paper strategy that trades simulated or replayed quotes on a paper venue."""
