"""The formats of exports: one small writer for each, and one row for each in the registry."""
