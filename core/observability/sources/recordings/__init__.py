"""Recordings of several formats, each with a reader that yields events, and the replay that publishes them in time."""
