"""Arithmetic that knows no events: exact decimals and turnover, histograms of durations, trading sessions."""
