"""Shapes of other tools: what their feedback and their exports mean here."""
