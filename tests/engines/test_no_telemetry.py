"""What runs here tells nobody. OpenVINO reports every import to a web analytics service unless its reporter is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# Prints every place that is looked up or connected to from now until the process ends.
LISTEN = """
import atexit, sys
told = []
places = ("socket.getaddrinfo", "socket.connect")
sys.addaudithook(lambda name, args: told.append(str(args)) if name in places else None)
atexit.register(lambda: print("told", told))
"""


@pytest.mark.parametrize(
    "module",
    ["service.perception.networks", "engines.openvino", "service.datasets.blendshapes", "engines.quantize, nncf"],
)
def test_nothing_is_reported_when_openvino_is_imported(module: str, tmp_path: Path) -> None:
    if "nncf" in module:
        pytest.importorskip("nncf")
    code = f"{LISTEN}\nimport {module}\nassert 'openvino_telemetry.main' not in sys.modules, 'it reports'"
    # No CI variable: in there it would keep quiet by itself.
    environment = {name: value for name, value in os.environ.items() if name not in ("CI", "TF_BUILD", "JENKINS_URL")}
    done = subprocess.run(
        [sys.executable, "-c", code], env={**environment, "HOME": str(tmp_path)}, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "told []" in done.stdout
    assert list(tmp_path.iterdir()) == []  # where it keeps the number by which a user is known
