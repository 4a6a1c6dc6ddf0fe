"""Kira stages."""
