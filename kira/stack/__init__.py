"""Kira stack."""
