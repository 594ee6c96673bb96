"""Filters of `blur`, on the processor and on an NVIDIA GPU."""
