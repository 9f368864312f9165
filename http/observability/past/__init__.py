"""The past: any recorded frame over REST, and the stream as it was from any time on."""
