"""Addresses for the tests of the gateway."""

CLOSED = "http://127.0.0.1:9"
