"""Pages for people: the live page and the API reference."""
