"""The gateway: the HTTP routes that apps call, with capture, limits, metrics and tracing."""
