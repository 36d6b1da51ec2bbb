"""The RTSP server of `rtsp_server.py` as a test uses it: started, stopped, started again at the same address."""

import subprocess
from pathlib import Path

import pytest

_PYTHON = "/usr/bin/python3"
_SERVER = Path(__file__).with_name("rtsp_server.py")
_CHECK = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"


class RtspServer:
    """Serves one clip (H.264, with `sound` AAC too) on loopback; with `udp` it refuses TCP."""

    def __init__(self, clip: Path, *, sound: bool, udp: bool = False) -> None:
        """Skips the test where GStreamer's server is not installed."""
        if not Path(_PYTHON).exists() or subprocess.run([_PYTHON, "-c", _CHECK], capture_output=True).returncode:
            pytest.skip("needs gir1.2-gst-rtsp-server-1.0 and python3-gi of Debian, which are not on this machine")
        self._arguments = [str(clip)], [*(["sound"] if sound else []), *(["udp"] if udp else [])]
        self._process: subprocess.Popen[str] | None = None
        self.port = 0
        self.url = ""

    def start(self) -> None:
        """Returns once it listens; after the first time on the same port."""
        before, after = self._arguments
        self._process = subprocess.Popen(
            [_PYTHON, str(_SERVER), *before, str(self.port), *after], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("rtsp://"), "the RTSP server did not start"
        self.port = int(self.url.split(":")[2].split("/")[0])

    def pause(self, signal: int) -> None:
        """Sends `signal` (SIGSTOP, SIGCONT): a server that is there but silent."""
        assert self._process is not None
        self._process.send_signal(signal)

    def stop(self) -> None:
        """Kills it, as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None
