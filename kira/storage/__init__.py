"""Kira storage."""
