"""Time: ISO 8601 outside and integer nanoseconds inside, the clocks of the host and of the events, timers on the event
loop, and long work cut into slices.
"""
