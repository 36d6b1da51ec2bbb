"""The live program: all that runs while a camera is on. Its way of data: capture, perception, inference,
aggregation, publish; only `pipeline.py` and `session.py` know them all.
"""

import os

import engines  # noqa: F401 # before anything imports OpenVINO

# Sessions run side by side in threads of their own. A BLAS pool under numpy's small products spins on every core and
# was measured to raise a frame's cost from 4 to 50 ms of CPU; it reads this once, when numpy is first imported.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
