"""Shared builders, harnesses and helpers of the tests."""
