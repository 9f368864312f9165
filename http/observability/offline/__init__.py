"""Bundles: a stretch of the past in one file, made by the command `bundle` and shown by `open`."""
