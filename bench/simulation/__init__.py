"""Simulated users and holdouts for bench/gates.py: thousands of canaries side by side, as arrays."""
