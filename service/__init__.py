"""Watch faces and listen to voices live.

Data passes through capture, perception, adapters and inference, aggregation and publish, in this order; only
`pipeline.py` and `session.py` import from all of them.
"""

import engines  # noqa: F401 # blocks OpenVINO's telemetry before any module of this package can import OpenVINO
