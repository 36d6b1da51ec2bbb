"""A web site of another program: the files of a folder, served without any policy, on an origin of its own."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: a test's output is for what went wrong."""

    def do_GET(self) -> None:
        if self.path == "/favicon.ico":  # browsers ask for it
            self.send_response(204)
            self.end_headers()
            return
        super().do_GET()


@contextmanager
def static_site(folder: Path) -> Iterator[str]:
    """The origin of a site that runs until the block ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
