"""The roof: where gateway and control are put together, the CLI, the console and the demo."""
