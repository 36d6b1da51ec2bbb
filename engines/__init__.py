"""From a network to something that runs fast: weights, export, compilation, verification, execution."""

import sys

# Imported, OpenVINO reports to a web analytics service under a number that it keeps for this user, asked by nobody.
# Where its reporter cannot be imported it does without. People's faces are read here: nothing is told to anybody.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
