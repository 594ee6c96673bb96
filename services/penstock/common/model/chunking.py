"""Chunk size: how many images share a message, from the service time of one image."""

CHUNK_SECS = 0.06
"""Work of one chunk in its slowest step. A message costs about a millisecond, which is little beside it."""
MAX_CHUNK = 8


def fit_chunk(secs: float, most: int = MAX_CHUNK) -> int:
    """Return how many images of `secs` seconds in their slowest step make a chunk, 1 to `most`."""
    return max(1, min(most, int(CHUNK_SECS / secs) if secs else most))
