"""Exact sums, histograms and trading sessions: arithmetic without any knowledge of events."""
