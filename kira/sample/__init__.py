"""Kira sample."""
