"""Adapters: checks on adapter folders and archives before an engine loads them."""
