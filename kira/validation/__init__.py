"""Kira validation."""
