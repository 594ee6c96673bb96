"""Penstock runs ordered image operations over whole batches of photographs."""

__version__ = "0.1.0"
