"""Benchmarks: one script per published figure; each prints one JSON line last."""
