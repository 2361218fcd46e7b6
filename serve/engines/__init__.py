"""Engines: vLLM servers as processes and clients, and what must be loaded on each."""
