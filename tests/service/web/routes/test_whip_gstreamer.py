"""A third WHIP client, with a WebRTC stack of its own and an RSA certificate: GStreamer's webrtcbin."""

import asyncio
import subprocess
from pathlib import Path

import pytest
from helpers.live_server import serving
from helpers.repository import ROOT
from helpers.whip import events_until, whip_app

SENDER = ROOT / "tests" / "helpers" / "gstreamer_sender.py"
SYSTEM_PYTHON = Path("/usr/bin/python3")
NEEDS = "python3-gi gir1.2-gst-plugins-bad-1.0 gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-nice"


def test_gstreamer_sends_picture_and_sound() -> None:
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"needs {SYSTEM_PYTHON} and {NEEDS}")
    with serving(whip_app()) as server:
        command = [str(SYSTEM_PYTHON), str(SENDER), f"{server.url}/whip/ball"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sender:
            try:
                events = asyncio.run(events_until(server, "ball", "live", 30, heard=True))
            except TimeoutError:
                if sender.poll() == 77:
                    pytest.skip(f"needs {NEEDS}: {sender.stderr.read() if sender.stderr else ''}")
                raise
            finally:
                assert sender.stdin is not None
                sender.stdin.close()  # tells it to stop
                sender.wait(60)
        assert [320, 240] in [event["image_size"] for event in events]
        assert max(event["audio"]["level_db"] for event in events if event["audio"]["status"] != "no_sound") > -30
