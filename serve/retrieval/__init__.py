"""Retrieval versions: prompts extended with examples or document passages."""
