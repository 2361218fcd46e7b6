"""Notifications about ledger entries."""
