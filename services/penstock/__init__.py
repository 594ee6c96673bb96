"""Penstock runs ordered image operations over large batches of images."""

__version__ = "0.1.0"
