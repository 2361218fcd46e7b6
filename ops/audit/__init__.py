"""The audit log of control: which request is which act, and its record."""
