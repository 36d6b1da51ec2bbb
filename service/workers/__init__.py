"""The processes that read faces, and the front process's handles to them."""
