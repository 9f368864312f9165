"""One snapshot per tick, encoded once: its sections, the serializer, the ring of frames, the hub that drives it."""
