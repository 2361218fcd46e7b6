"""Charts of the console as inline SVG."""
