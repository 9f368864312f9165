"""Time: nanoseconds inside and ISO 8601 outside, the clocks of the host and of events, timers, and work in slices."""
