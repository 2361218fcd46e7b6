"""Gates: pure functions that turn evidence into a verdict with reasons."""
