"""Kira catalog."""
