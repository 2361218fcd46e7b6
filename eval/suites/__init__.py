"""Suites: questions whose answers say how risky a version is, shipped or written by users.

`shipped` lists those that come with LoraLoop, `files` reads those of users; what a suite is stands in `suite`.
"""
