"""Suites: prompts whose answers show how risky a version is, shipped with LoraLoop or written by users."""
