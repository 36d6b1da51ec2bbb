"""Engines that run networks: weights, export, compilation, comparison with a reference, execution."""

import sys

# When it is imported, OpenVINO reports to a web analytics service under a number that it keeps for this user. It does
# not report where its reporter cannot be imported. A program that reads people's faces must not report to anybody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
