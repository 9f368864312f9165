"""One snapshot per tick, encoded once: sections, serializer, index, the ring of frames, and the hub that drives them.

Every subscriber and every REST client is sent these bytes, or slices of them.
"""
