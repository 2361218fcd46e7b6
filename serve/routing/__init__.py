"""Routing: the table that maps a model to its versions, and how gateways get it."""
