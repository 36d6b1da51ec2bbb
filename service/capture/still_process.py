"""Decode still pictures in a process of their own, so that a crash, a hang or a decompression bomb costs one picture.

The parent writes one line for each picture, the path in hexadecimal; the child answers with one line of JSON, and the
pixels after it. The child has bounds on memory, and is started anew after it died or was ended for taking too long.
"""

import json
import os
import select
import stat
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from models.errors import UserError
from service.capture.limits import max_pixels
from service.capture.still import decode
from service.printable import printable

SECONDS = 20.0  # that a picture may take
_MEMORY = 4 << 30  # bytes of address space of the child; a picture of 64 million pixels needs about 1 GB


class StillProcess:
    """Hold the child process between `with` and its end."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def read(self, path: Path) -> NDArray[np.uint8]:
        """Return the picture in the file `path` as (height, width, 3) uint8 RGB, upright.

        Raises `UserError`, a sentence that begins with the file's name, if it cannot be read.
        """
        name = printable(path.name)
        trouble = not_a_file(path)
        if trouble is not None:
            raise UserError(f"{name} {trouble}")
        child = self._started()
        assert child.stdin is not None
        try:
            child.stdin.write(os.fsencode(path.absolute()).hex().encode() + b"\n")
            child.stdin.flush()
            answer = self._answer(child)
        except TimeoutError:
            self._end()
            raise UserError(f"{name} took longer than {self._seconds:g} s to decode, and was stopped") from None
        except (EOFError, BrokenPipeError):
            child.wait()
            code = child.returncode
            self._end()
            raise UserError(f"{name} crashed its decoder (status {code}); nothing else was touched") from None
        if "error" in answer:
            raise UserError(f"{name} {answer['error']}")
        return np.asarray(answer["pixels"], np.uint8)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._child is None or self._child.poll() is not None:
            self._child = subprocess.Popen(
                [sys.executable, "-P", "-m", "service.capture.still_process"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENCV_IO_MAX_IMAGE_PIXELS": str(max_pixels())},
                start_new_session=True,  # Ctrl-C is the parent's; the child ends with its pipe
                bufsize=0,
            )
        return self._child

    def _answer(self, child: subprocess.Popen[bytes]) -> dict[str, Any]:
        """Return the child's answer. Raises `TimeoutError` if it takes too long, `EOFError` if the child ended."""
        deadline = time.monotonic() + self._seconds
        line = bytearray()
        while not line.endswith(b"\n"):
            line += self._some(child, 1, deadline)
        answer: dict[str, Any] = json.loads(line)
        if "shape" in answer:
            pixels = np.empty(answer["shape"], np.uint8)
            rest = pixels.data.cast("B")
            while rest:
                some = self._some(child, min(len(rest), 1 << 20), deadline)
                rest[: len(some)] = some
                rest = rest[len(some) :]
            answer["pixels"] = pixels
        return answer

    @staticmethod
    def _some(child: subprocess.Popen[bytes], most: int, deadline: float) -> bytes:
        assert child.stdout is not None
        ready, _, _ = select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))
        if not ready:
            raise TimeoutError
        data: bytes = os.read(child.stdout.fileno(), most)
        if not data:
            raise EOFError
        return data

    def _end(self) -> None:
        child, self._child = self._child, None
        if child is not None:
            child.kill()
            child.communicate()


def not_a_file(path: Path) -> str | None:
    """Return a sentence's end that says why `path` is no file that can be read, or None if it is one."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return "is a link to a file that is not there" if path.is_symlink() else "is not there; check the path"
    except (OSError, ValueError) as error:
        return f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if stat.S_ISDIR(mode):
        return "is a folder, not a picture"
    if not stat.S_ISREG(mode):  # opening a pipe would wait for its writer
        return "is not a file but a pipe, socket or device"
    if not os.access(path, os.R_OK):
        return "may not be read by this user"
    return None


def main() -> None:
    """Answer for each path on standard input until it ends."""
    try:
        import resource
    except ImportError:  # Windows has no such bounds
        pass
    else:
        resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    for line in sys.stdin.buffer:
        try:
            picture = decode(Path(os.fsdecode(bytes.fromhex(line.decode().strip()))))
        except UserError as error:
            out.write(json.dumps({"error": str(error)}).encode() + b"\n")
        except MemoryError:
            out.write(json.dumps({"error": "needs more memory than a picture may take"}).encode() + b"\n")
        except Exception as error:  # whatever a decoder raises is this picture's trouble alone
            out.write(json.dumps({"error": f"cannot be decoded ({type(error).__name__})"}).encode() + b"\n")
        else:
            out.write(json.dumps({"shape": picture.shape}).encode() + b"\n")
            for strip in picture.strips():
                pixels = strip.data.cast("B")
                while pixels:
                    pixels = pixels[out.write(pixels) or 0 :]
            del picture  # before the next one is decoded


if __name__ == "__main__":
    main()
