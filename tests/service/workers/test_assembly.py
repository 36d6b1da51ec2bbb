"""The service in front of workers: it loads nothing that reads pictures or sound."""

import subprocess
import sys

FRONT = """
import sys
from service.serve import check_purposes
from service.settings import load_settings
from service.web import server
from service.workers import assembly, metrics, proxy
from service.web.app import create_app
create_app(load_settings())
heavy = {"aiortc", "av", "cv2", "onnx", "openvino", "torch"}
print(sorted(heavy & sys.modules.keys()))
"""


def test_the_front_imports_no_decoder_and_no_engine() -> None:
    done = subprocess.run([sys.executable, "-P", "-c", FRONT], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
