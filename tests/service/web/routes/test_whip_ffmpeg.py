"""A second, independent WHIP client: FFmpeg's `whip` muxer, as PyAV brings it."""

import asyncio
import datetime
import json
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from helpers import ffmpeg_sender
from helpers.live_server import serving
from helpers.whip import events_until, whip_app


@pytest.fixture
def certificate(tmp_path: Path) -> dict[str, str]:
    """A P-256 certificate: the one that FFmpeg makes with GnuTLS is of a curve that OpenSSL refuses."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "whip")])
    now = datetime.datetime.now(datetime.UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    signed = made.not_valid_before(now).not_valid_after(now + datetime.timedelta(days=1)).sign(key, hashes.SHA256())
    pem, no_password = serialization.Encoding.PEM, serialization.NoEncryption()
    private = key.private_bytes(pem, serialization.PrivateFormat.TraditionalOpenSSL, no_password)
    (tmp_path / "key.pem").write_bytes(private)
    (tmp_path / "cert.pem").write_bytes(signed.public_bytes(pem))
    return {"cert_file": str(tmp_path / "cert.pem"), "key_file": str(tmp_path / "key.pem")}


@pytest.mark.skipif("whip" not in av.formats_available, reason="this PyAV's FFmpeg has no whip muxer")
def test_ffmpeg_sends_picture_and_sound(certificate: dict[str, str]) -> None:
    with serving(whip_app(token="secret")) as server:
        options = {**certificate, "authorization": "secret"}
        command = [sys.executable, ffmpeg_sender.__file__, f"{server.url}/whip/encoder", json.dumps(options)]
        # A process of its own: PyAV holds the interpreter's lock while it connects.
        with subprocess.Popen(command, stdin=subprocess.PIPE) as sender:
            try:
                events = asyncio.run(events_until(server, "encoder", "live", 30, token="secret"))
            finally:
                assert sender.stdin is not None
                sender.stdin.close()  # tells it to stop
                sender.wait(10)
        assert events[-1]["image_size"] == [320, 240]
        assert events[-1]["audio"]["status"] != "no_sound"
        assert events[-1]["audio"]["level_db"] == pytest.approx(20 * np.log10(9000 / 32768 / np.sqrt(2)), abs=2)
        times = [event["t"] for event in events if event["image_size"]]
        assert np.median(np.diff(times)) == pytest.approx(1 / 30, abs=2e-3)
        assert server.app.state.whip_peers == {}
