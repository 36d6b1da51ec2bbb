"""What may be written after --source, and the sentences for what may not."""

import os
import sys
import threading
from pathlib import Path
from urllib.parse import quote

import pytest
from helpers.clips import write_clip

from engines.errors import UserError
from service.capture.media import Frame
from service.capture.open import _file_and_options, open_source, readings


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clips") / "a clip.mp4", seconds=0.2)


def test_a_file_can_be_named_in_every_way(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(clip.parent)
    for spec in (str(clip), clip.name, f"file:{clip}", f"file:{clip.name}", f"file:{clip}?loop=1"):
        assert open_source(spec).label == spec
    assert open_source(f"file://{str(clip).replace(' ', '%20')}")


def test_a_file_whose_name_looks_like_options_or_a_scheme_is_found(
    clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("what?loop=1", "take:2.mp4"):
        (tmp_path / name).write_bytes(clip.read_bytes())
    assert open_source("file:what?loop=1")
    assert open_source("take:2.mp4")


def test_addresses_are_not_contacted_and_their_labels_hold_no_secret() -> None:
    for scheme in ("rtsp", "rtsps", "http", "https", "RTSP"):
        source = open_source(f"{scheme}://user:hunter2@host.invalid:8554/live?token=hunter2")
        assert source.label == f"{scheme}://***@host.invalid:8554/live?token=***"


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("", "source is empty"),
        ("telepathy:1", "telepathy: are not known"),
        ("ftp://me:hunter2@host/x", "ftp: are not known"),
        ("no such file.mp4", "no file"),
        ("file:", "needs a path"),
        ("file:/tmp", "is a folder"),
        ("file:x.mp4?loops=1", "no option 'loops'"),
        ("demo:now", "takes no name"),
        ("demo:?seconds=-1", "not a number above 0"),
        ("camera:front", "no camera number"),
        ("camera:0?audio=yes", "neither 0 nor 1"),
        ("http://", "names no host"),
        ("rtsp://host:99999/x", "cannot be read"),
        ("rtsp://admin:12/3@host/x", "percent-encode the password"),
        ("rtsp://host/x?transport=pigeon", "auto, tcp or udp"),
        ("rtsp://host/x?rotate=45", "takes 90, 180 or 270"),
        ("camera:0?size=big", "is no size"),
        ("camera:0?size=0x0", "is no size"),
        ("camera:0?fps=0", "not a number above 0"),
        ("Büro=demo:", "cannot name a session"),
        ("my desk=rtsp://me:hunter2@host/x", "cannot name a session"),
        ("file://elsewhere/clip.mp4", "another machine"),
        ("file:a\0b.mp4", "no file"),
        ("file:what?.mp4", "There is no file"),
    ],
)
def test_mistakes_get_one_sentence(spec: str, words: str) -> None:
    with pytest.raises(UserError, match=words) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks for /dev/video98, which only Linux has")
def test_a_missing_camera_gets_a_sentence() -> None:
    with pytest.raises(UserError, match="no camera 98"):
        open_source("camera:98")


@pytest.mark.parametrize("value", ["0", "1"])
def test_loop_is_zero_or_one(clip: Path, value: str) -> None:
    assert open_source(f"file:{clip}?loop={value}")
    with pytest.raises(UserError, match="neither 0 nor 1"):
        open_source(f"file:{clip}?loop={value}0")


@pytest.mark.parametrize("name", ["what?.mp4", "100%25.mp4", "a#b.mp4", "wie=geht.mp4", "zwei  Wörter.mp4", "-x.mp4"])
def test_odd_names_are_found_in_every_way(clip: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(clip.read_bytes())
    for spec in (str(path), f"file:{path}", f"file:{path}?loop=1", f"file:{path}?loop=1&rotate=90"):
        assert open_source(spec)
    for host in ("", "localhost"):
        assert open_source(f"file://{host}{quote(str(path))}")
        assert open_source(f"file://{host}{path}")
        assert open_source(f"file://{host}{quote(str(path))}?loop=1")


@pytest.mark.skipif(sys.platform == "win32", reason="names are text there")
def test_a_name_that_is_not_utf8_is_read_and_can_be_shown(clip: Path, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"b\xfcro.mp4")
    path.write_bytes(clip.read_bytes())
    for spec in (str(path), f"file:{path}"):
        source = open_source(spec, realtime=False)
        assert source.label.encode()
        assert "b\\xfcro.mp4" in source.label
        assert any(isinstance(item, Frame) for item in source.read(threading.Event()))
    with pytest.raises(UserError) as caught:
        open_source(str(tmp_path / os.fsdecode(b"\xfc\xfc.mp4")))
    assert str(caught.value).encode()


def test_our_options_are_taken_out_of_an_address_and_the_rest_stays() -> None:
    source = open_source("rtsp://host/live?channel=1&rotate=180&transport=udp&x=%20y")
    assert source._url == "rtsp://host/live?channel=1&x=%20y"  # type: ignore[attr-defined]
    assert open_source("http://host/live?transport=udp")._url.endswith("?transport=udp")  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "text", ["//localhost/etc/passwd", "///etc/passwd", "///etc%2Fpasswd", "/etc/passwd?loop=1", "/etc/passwd?x?loop=1"]
)
def test_every_path_that_may_be_opened_is_among_the_readings(text: str) -> None:
    """What is allowed is checked on these; a source must not open anything else."""
    path, _ = _file_and_options(text) if "x?" not in text else (Path("/etc/passwd?x"), {})
    assert path in readings(text)
    assert all(str(reading).startswith("/etc/passwd") or "%" in str(reading) for reading in readings(text))
