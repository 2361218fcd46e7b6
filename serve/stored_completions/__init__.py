"""Stored completions: OpenAI's routes for completions kept with `store: true`."""
