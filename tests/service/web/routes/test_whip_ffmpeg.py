"""A second, independent WHIP client: FFmpeg's `whip` muxer, as PyAV brings it."""

import asyncio
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from helpers import ffmpeg_sender
from helpers.certificates import write_certificate
from helpers.live_server import serving
from helpers.whip import events_until, whip_app


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """A P-256 certificate: the one that FFmpeg makes with GnuTLS is of a curve that OpenSSL refuses."""
    write_certificate(tmp_path)
    return {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}


@pytest.mark.skipif("whip" not in av.formats_available, reason="this PyAV's FFmpeg has no whip muxer")
@pytest.mark.parametrize("profile", ["baseline", "main", "high"])
def test_ffmpeg_sends_picture_and_sound(certificate: dict[str, str], profile: str) -> None:
    with serving(whip_app(token="secret")) as server:
        options = {**certificate, "authorization": "secret"}
        command = [sys.executable, ffmpeg_sender.__file__, f"{server.url}/whip/encoder", json.dumps(options), profile]
        # A process of its own: PyAV holds the interpreter's lock while it connects.
        with subprocess.Popen(command, stdin=subprocess.PIPE) as sender:
            try:
                events = asyncio.run(events_until(server, "encoder", "live", 30, token="secret", heard=True))
            finally:
                assert sender.stdin is not None
                sender.stdin.close()  # tells it to stop
                sender.wait(60)
        assert [320, 240] in [event["image_size"] for event in events]
        level = max(event["audio"]["level_db"] for event in events if event["audio"]["status"] != "no_sound")
        assert level == pytest.approx(20 * np.log10(9000 / 32768 / np.sqrt(2)), abs=2)
        steps = np.diff([event["t"] for event in events if event["image_size"]]) * 30
        assert np.median(np.abs(steps - np.round(steps))) < 0.1  # whole ones, by the sender's stamps
        assert server.app.state.whip_peers == {}
