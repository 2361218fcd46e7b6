"""The gateway and control applications, assembled."""
