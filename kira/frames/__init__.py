"""Kira frames."""
