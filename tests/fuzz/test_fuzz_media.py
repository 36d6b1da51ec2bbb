"""Media that strangers send: no damage to a film or a picture crashes, hangs, or takes memory without bound."""

import contextlib
import io
import json
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.clips import beep, write_clip
from helpers.fuzz import cases, damaged_files
from helpers.repository import ROOT
from numpy.typing import NDArray
from PIL import Image

from models.errors import UserError
from service.capture.still_process import StillProcess

FILMS, STILLS = 60, 60  # files that CI tries
MOST_MB = 1000.0
MOST_CPU = 20.0  # s that reading a small file may take


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("films")
    tone = beep(0.6, at=0.3)
    made = {
        "a.mp4": write_clip(folder / "a.mp4", seconds=0.6, sound=tone),
        "a.mkv": write_clip(folder / "a.mkv", seconds=0.6, sound=tone, sound_codec="libopus"),
        "a.webm": write_clip(folder / "a.webm", seconds=0.4, codec="libvpx"),
        "a.ts": write_clip(folder / "a.ts", seconds=0.6),
        "a.avi": write_clip(folder / "a.avi", seconds=0.4, codec="mjpeg", pixels="yuvj420p"),
        "a.wav": write_clip(folder / "a.wav", size=None, sound=tone, sound_codec="pcm_s16le"),
        "a.mov": write_clip(folder / "a.mov", seconds=0.4, codec="libx265", pixels="yuv420p10le"),
    }
    films = {name: path.read_bytes() for name, path in made.items()}
    frames = [Image.fromarray(np.full((60, 80, 3), 40 * n, np.uint8)) for n in range(5)]
    for name, options in {"a.gif": {}, "moving.webp": {"lossless": True}, "moving.png": {}}.items():
        file = io.BytesIO()
        kind = name.rpartition(".")[2]
        frames[0].save(file, kind, save_all=True, append_images=frames[1:], duration=40, **options)  # type: ignore[arg-type]
        films[name] = file.getvalue()
    return films


def test_damaged_films_neither_crash_nor_hang_nor_fill_the_memory(tmp_path: Path, films: dict[str, bytes]) -> None:
    for name, data in damaged_files(films, cases(FILMS)):
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, str(ROOT / "tests" / "fuzz" / "read_media.py"), str(tmp_path)]
    read = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}, check=False)
    lines = [json.loads(line) for line in read.stdout.splitlines()]
    assert read.returncode == 0, (lines[-1], read.stderr[-3000:])
    done = [line for line in lines if "file" in line]
    assert len(done) == cases(FILMS)
    assert max(line["cpu"] for line in done) < MOST_CPU
    assert lines[-1]["most_mb"] < MOST_MB
    assert "Traceback" not in read.stderr


@pytest.fixture(scope="module")
def stills() -> dict[str, bytes]:
    picture = np.asarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3)), np.uint8)
    stills = {}
    for kind, options in {
        "JPEG": {}, "PNG": {}, "GIF": {}, "BMP": {}, "TIFF": {"compression": "tiff_lzw"}, "WEBP": {}, "JPEG2000": {},
        "AVIF": {}, "PPM": {},
    }.items():  # fmt: skip
        file = io.BytesIO()
        Image.fromarray(picture).save(file, kind, **options)  # type: ignore[arg-type]
        stills[f"a.{kind.lower()}"] = file.getvalue()
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "TIFF", tiffinfo={278: 5})  # uncompressed, in strips of 5 rows
    stills["raw.tiff"] = file.getvalue()
    deep: NDArray[np.uint16] = picture.astype(np.uint16) * 257
    stills["deep.png"] = cv2.imencode(".png", deep)[1].tobytes()
    return stills


def test_damaged_pictures_cost_themselves_alone(tmp_path: Path, stills: dict[str, bytes]) -> None:
    whole = tmp_path / "whole.png"
    whole.write_bytes(stills["a.png"])
    with StillProcess() as process:
        for name, data in damaged_files(stills, cases(STILLS)):
            path = tmp_path / name
            path.write_bytes(data)
            with contextlib.suppress(UserError):
                assert process.read(path).shape[2:] == (3,)
                continue
            with pytest.raises(UserError) as refused:
                process.read(path)
            said = str(refused.value)
            assert name in said
            assert "crashed" not in said, name
            assert "longer than" not in said, name
        assert process.read(whole).shape == (48, 64, 3)
