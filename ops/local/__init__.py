"""One machine: start, check and configure all processes."""
