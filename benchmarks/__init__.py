"""Measurements of speed and memory, each with a proof before it that the contenders do the same work."""
