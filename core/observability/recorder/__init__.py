"""The flight recorder: every frame on disk for days, and any past frame as the same bytes."""
