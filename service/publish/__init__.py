"""Where events go: hub, WebSocket, Redis, files."""
