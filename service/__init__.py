"""The live program: all that runs while a camera is on. Its way of data: capture, perception, inference,
aggregation, publish; only `pipeline.py` and `session.py` know them all."""
