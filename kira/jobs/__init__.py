"""Kira jobs."""
