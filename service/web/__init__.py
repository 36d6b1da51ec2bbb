"""The HTTP service: the application, its guard, its OpenAPI document and its answers to errors."""
