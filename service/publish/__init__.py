"""The sinks of events: the hub, Redis and files."""
