"""Kira ledger."""
