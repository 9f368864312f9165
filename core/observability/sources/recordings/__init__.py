"""Recordings of several formats, and their replay as if they happened now."""
