"""Kira extraction."""
