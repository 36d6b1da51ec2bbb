"""The HTTP and WebSocket routes, one file for each group."""
