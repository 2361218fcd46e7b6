"""The applications: gateway and control with all their parts, the CLI and the console."""
