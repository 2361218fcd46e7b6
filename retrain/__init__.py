"""Cycles: when to start one, how a trainer runs, and where its adapter goes.

It may call on evaluation and feedback; the request path knows nothing of it.
"""
