"""Rollout: the only package that changes which version serves."""
