"""`affectstream analyze` on real encoded files and pictures."""

import csv
import hashlib
import http.server
import json
import math
import os
import signal
import socketserver
import subprocess
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pyarrow.parquet
import pytest
from helpers.clips import beep, write_clip
from helpers.command import started
from helpers.encode import write_pictures
from helpers.sources import demo_items
from jsonschema import Draft202012Validator
from PIL import Image

from affectstream import __version__
from models.errors import UserError
from service.analyze import analyze, events_of_recording
from service.capture.marker_file import Marker
from service.capture.media import Frame
from service.capture.open import open_source
from service.capture.span import Span
from service.cli import main
from service.events import event_schema
from service.runtime import Runtime

FRAMES = 60


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of the demo as H.264, 30 fps."""
    path = tmp_path_factory.mktemp("clip") / "demo.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=30, options={"preset": "ultrafast", "g": "15"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for n, item in enumerate(i for i in demo_items(FRAMES / 30) if isinstance(i, Frame)):
            picture = av.VideoFrame.from_ndarray(item.image, "rgb24")
            picture.pts = n
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    return path


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_one_valid_event_per_frame(runtime: Runtime, clip: Path, tmp_path: Path) -> None:
    outcome = analyze(runtime, str(clip), tmp_path / "x.jsonl", quiet=True)
    events = lines(tmp_path / "x.jsonl")
    assert outcome.ending == "complete"
    assert len(events) == outcome.events == FRAMES
    validator = Draft202012Validator(event_schema())
    for event in events:
        validator.validate(event)
    assert [event["t"] for event in events] == pytest.approx([n / 30 for n in range(FRAMES)], abs=0.002)
    assert {face["track"] for event in events for face in event["faces"]} == {1}


def test_fps_thins_out_by_the_clock(runtime: Runtime, clip: Path, tmp_path: Path) -> None:
    analyze(runtime, str(clip), tmp_path / "x.jsonl", fps=5, quiet=True)
    assert [event["t"] for event in lines(tmp_path / "x.jsonl")] == pytest.approx(np.arange(10) / 5, abs=0.002)


def test_a_part_keeps_the_clock_of_the_recording_and_reads_nothing_else(
    runtime: Runtime, clip: Path, tmp_path: Path
) -> None:
    outcome = analyze(runtime, str(clip), tmp_path / "x.jsonl", span=Span(0.5, 1.0), quiet=True)
    events = lines(tmp_path / "x.jsonl")
    assert [event["t"] for event in events] == pytest.approx([n / 30 for n in range(15, 30)], abs=0.002)
    assert outcome.details == ["Stopped at 1 s, where the part ends"]
    assert events[0]["faces"][0]["track"] == 1


def test_a_part_of_a_sound_begins_with_it(runtime: Runtime, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.wav", size=None, seconds=3.0, sound=beep(3.0, at=1.5), sound_codec="pcm_s16le")
    analyze(runtime, str(path), tmp_path / "x.jsonl", span=Span(1.0, 2.0), quiet=True)
    times = [event["t"] for event in lines(tmp_path / "x.jsonl")]
    assert 1.0 <= times[0] <= 1.11
    assert times[-1] <= 2.0
    assert len(times) >= 9


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (Span(30), "--start 30 is not within the recording, which is 2.00 s long"),
        (Span(), "the marker 'film' at 12 s lies outside the recording, which is 2.00 s long"),
    ],
)
def test_times_outside_of_a_recording_are_bad_input(
    runtime: Runtime, clip: Path, tmp_path: Path, span: Span, words: str
) -> None:
    with pytest.raises(UserError, match=words):
        analyze(runtime, str(clip), tmp_path / "x.csv", span=span, markers=[Marker(12, "film")], quiet=True)
    assert not (tmp_path / "x.csv").exists()


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--start", "2", "--end", "1"], "the end 1 s is not after the start 2 s"),
        (["--markers", "none.csv"], "the markers cannot be read"),
        (["--jobs", "2", "--markers", "none.csv"], "several recordings need a folder"),
    ],
)
def test_options_that_cannot_be_are_refused_before_anything_is_loaded(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], options: list[str], words: str
) -> None:
    assert main(["analyze", "a.mp4", "--out", str(tmp_path / "x.csv"), *options]) == 2
    assert words in capfd.readouterr().err


def test_markers_are_fields_of_the_events_and_columns_of_the_table(
    runtime: Runtime, clip: Path, tmp_path: Path
) -> None:
    markers = [Marker(0.5, "film"), Marker(0.51, "loud"), Marker(1.0, "rest")]
    analyze(runtime, str(clip), tmp_path / "x.jsonl", fps=5, markers=markers, quiet=True)
    analyze(runtime, str(clip), tmp_path / "x.parquet", fps=5, markers=markers, quiet=True)
    events = lines(tmp_path / "x.jsonl")
    for event in events:
        Draft202012Validator(event_schema()).validate(event)
    assert [(n, event["marker"]["label"]) for n, event in enumerate(events) if event.get("marker")] == [
        (3, "film"),
        (4, "loud"),
        (7, "rest"),
    ]
    assert [event["seq"] for event in events] == sorted(event["seq"] for event in events)
    table = pyarrow.parquet.read_table(tmp_path / "x.parquet").to_pylist()
    assert [row["marker"] for row in table] == [None, None, None, "film;loud", None, "rest", None, None, None, None]
    assert [row["last_marker"] for row in table][2:7] == [None, "loud", "loud", "rest", "rest"]
    assert table[4]["last_marker_t"] == 0.51


def test_a_result_says_what_made_it(clip: Path, tmp_path: Path) -> None:
    assert main(["analyze", str(clip), "--out", str(tmp_path / "x.parquet"), "--fps", "2", "--no-voice"]) == 0
    beside = json.loads((tmp_path / "x.parquet.meta.json").read_text("utf-8"))
    assert beside["input"]["sha256"] == hashlib.sha256(clip.read_bytes()).hexdigest()
    assert beside["affectstream"] == __version__
    assert beside["model"]["weights"] in beside["weights_sha256"]
    assert {"face-mesh-468", "silero-vad"} < {*beside["weights_sha256"]}
    assert "iris-landmark" not in beside["weights_sha256"]  # gaze is not read
    assert beside["options"]["fps"] == 2
    assert beside["options"]["voice"] is False
    assert beside["result"]["events"] == 4
    assert beside["machine"]["cpu"]
    metadata = pyarrow.parquet.read_schema(tmp_path / "x.parquet").metadata
    assert json.loads(metadata[b"affectstream"]) == beside


def test_events_go_to_standard_output(clip: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["analyze", str(clip), "--out", "-", "--fps", "2", "--no-voice"]) == 0
    said = capfd.readouterr()
    assert [json.loads(line)["t"] for line in said.out.splitlines()] == pytest.approx([0, 0.5, 1, 1.5], abs=0.002)
    assert "4 events, 4 of them with a face" in said.err


def test_rare_frames_are_not_filled_up_with_sound(runtime: Runtime, tmp_path: Path) -> None:
    path = write_clip(tmp_path / "long.mp4", seconds=5.0, sound=beep(5.0, at=1.0))
    analyze(runtime, str(path), tmp_path / "x.jsonl", fps=0.5, quiet=True)
    assert [event["t"] for event in lines(tmp_path / "x.jsonl")] == [0.0, 2.0, 4.0]


def test_csv_has_openface_names_and_units(runtime: Runtime, clip: Path, tmp_path: Path) -> None:
    analyze(runtime, str(clip), tmp_path / "x.jsonl", quiet=True)
    analyze(runtime, str(clip), tmp_path / "x.csv", quiet=True)
    with (tmp_path / "x.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    event = lines(tmp_path / "x.jsonl")[30]
    row = rows[30]
    assert float(row["timestamp"]) == pytest.approx(event["t"], abs=1e-3)
    # OpenFace's axes: x right, y down, z away from the camera
    assert float(row["pose_Ry"]) == pytest.approx(-math.radians(event["faces"][0]["head_pose"]["yaw"]), abs=1e-3)
    assert float(row["valence"]) == pytest.approx(event["faces"][0]["valence"], abs=1e-3)
    intensities = {name: float(cell) for name, cell in row.items() if name.endswith("_r") and cell}
    assert intensities == {f"{name}_r": x for name, x in (event["faces"][0].get("intensities") or {}).items()}


def test_parquet_reads_back(runtime: Runtime, clip: Path, tmp_path: Path) -> None:
    analyze(runtime, str(clip), tmp_path / "x.parquet", quiet=True)
    assert pyarrow.parquet.read_table(tmp_path / "x.parquet").num_rows == FRAMES


def test_truncated_in_the_middle_gives_all_before_the_cut_and_says_so(
    runtime: Runtime, clip: Path, tmp_path: Path
) -> None:
    cut = tmp_path / "cut.mp4"
    whole = tmp_path / "whole.mp4"  # its index in front, so that a cut leaves something to play
    with av.open(str(clip)) as source, av.open(str(whole), "w", options={"movflags": "faststart"}) as sink:
        copy = sink.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = copy
                sink.mux(packet)
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    outcome = analyze(runtime, str(cut), tmp_path / "x.jsonl", quiet=True)
    assert FRAMES * 0.4 < outcome.events < FRAMES
    assert len(outcome.details) == 1
    assert "Cut short at 1" in outcome.details[0]


def test_pictures_of_a_folder_are_independent(runtime: Runtime, portrait: Any, tmp_path: Path) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    bgr = cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(folder / "b.png"), bgr)
    cv2.imwrite(str(folder / "a.png"), np.zeros((100, 100, 3), np.uint8))
    cv2.imwrite(str(folder / "c.jpg"), cv2.cvtColor(bgr, cv2.COLOR_BGR2GRAY))
    (folder / "d.png").write_bytes(b"not a picture")
    cv2.imwrite(str(folder / "e.png"), bgr)
    outcome = analyze(runtime, str(folder), tmp_path / "x.jsonl", quiet=True)
    events = lines(tmp_path / "x.jsonl")
    assert [event["file"] for event in events] == ["a.png", "b.png", "c.jpg", "d.png", "e.png"]
    assert [len(event["faces"]) for event in events] == [0, 1, 1, 0, 1]
    assert outcome.with_face == 3
    assert outcome.ending == "complete"
    assert "d.png" in events[3]["detail"]
    assert analyze(runtime, str(folder / "d.png"), tmp_path / "d.jsonl", quiet=True).ending == "failed"
    first, last = events[1]["faces"][0], events[4]["faces"][0]
    assert first == last
    assert first["track"] == 1
    validator = Draft202012Validator(event_schema())
    for event in events:
        validator.validate(event)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
def test_a_folder_of_everything_is_analysed_and_what_is_left_out_is_named(
    runtime: Runtime, portrait: Any, tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    png = cv2.imencode(".png", cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR))[1].tobytes()
    bomb = bytearray(cv2.imencode(".jpg", np.zeros((64, 64, 3), np.uint8))[1].tobytes())
    at = bomb.index(b"\xff\xc0")
    bomb[at + 5 : at + 9] = (30_000).to_bytes(2, "big") * 2
    (folder / "a.png").write_bytes(png)
    (folder / "b_no_suffix").write_bytes(png)
    (folder / os.fsdecode(b"c\xfc.png")).write_bytes(png)
    (folder / "d_lies.jpg").write_bytes(png)
    Image.fromarray(portrait).save(folder / "e.gif")
    Image.fromarray(portrait).save(folder / "f.avif")
    (folder / "g_bomb.jpg").write_bytes(bomb)
    (folder / "h_dangling.png").symlink_to(folder / "gone.png")
    os.mkfifo(folder / "i_pipe.png")
    (folder / "j_words.png").write_text("no picture")
    (folder / "k_folder.jpg").mkdir()
    (folder / "l_notes.txt").write_text("no picture")
    (folder / "m_film.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(100))
    outcome = analyze(runtime, str(folder), tmp_path / f"x{suffix}", quiet=True)
    assert outcome.ending == "complete"
    assert outcome.events == 10
    assert outcome.with_face == 6
    assert outcome.details[-2:] == [
        "4 of 10 pictures could not be read",
        "left out 3 that are no pictures: k_folder.jpg, l_notes.txt, m_film.mp4",
    ]
    for name, words in {
        "g_bomb.jpg": "more than 64 million",
        "h_dangling.png": "a link to a file that is not there",
        "i_pipe.png": "a pipe",
        "j_words.png": "not a picture",
    }.items():
        assert any(detail.startswith(name) and words in detail for detail in outcome.details)
    if suffix == ".parquet":
        assert "c\\xfc.png" in pyarrow.parquet.read_table(tmp_path / "x.parquet").column("file").to_pylist()
    elif suffix == ".csv":
        assert "c\\xfc.png" in (tmp_path / "x.csv").read_text("utf-8")
    else:
        events = lines(tmp_path / "x.jsonl")
        assert [event["reasons"] for event in events] == [[]] * 6 + [["unreadable"]] * 4
        assert events[2]["file"] == "c\\xfc.png"
        validator = Draft202012Validator(event_schema())
        for event in events:
            validator.validate(event)


def test_a_pipe_is_not_waited_for(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "x.png")
    assert main(["analyze", str(tmp_path / "x.png"), "--out", str(tmp_path / "x.jsonl")]) == 2
    assert "is not a file" in capfd.readouterr().err


def test_sound_at_1_hz_makes_no_day_of_events(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = write_clip(tmp_path / "voice.wav", size=None, sound=beep(1.0, at=0.5), sound_codec="pcm_s16le")
    data = bytearray(path.read_bytes())
    at = data.index(b"fmt ") + 12
    data[at : at + 4] = (1).to_bytes(4, "little")
    path.write_bytes(data)
    assert main(["analyze", str(path), "--out", str(tmp_path / "x.jsonl")]) == 2
    assert "1 Hz is not between" in capfd.readouterr().err


def test_what_was_done_to_the_pictures_is_told(runtime: Runtime, portrait: Any, tmp_path: Path) -> None:
    squeezed = cv2.resize(portrait, (384, 512), interpolation=cv2.INTER_AREA)
    path = write_pictures(tmp_path / "a.mp4", [squeezed] * 3, aspect=Fraction(4, 3))
    outcome = analyze(runtime, str(path), tmp_path / "x.jsonl", quiet=True)
    assert outcome.details[-1] == "Pictures: 384x512 stretched to 512x512 with square pixels"
    assert lines(tmp_path / "x.jsonl")[0]["image_size"] == [512, 512]


def test_a_squeezed_face_is_read_as_the_face_that_it_is(runtime: Runtime, portrait: Any, tmp_path: Path) -> None:
    whole = write_pictures(tmp_path / "a.mkv", [portrait] * 5)
    squeezed = cv2.resize(portrait, (256, 512), interpolation=cv2.INTER_AREA)
    values = []
    for path in (whole, write_pictures(tmp_path / "b.mkv", [squeezed] * 5, aspect=Fraction(2))):
        analyze(runtime, str(path), tmp_path / "x.jsonl", quiet=True)
        values.append(lines(tmp_path / "x.jsonl")[-1]["faces"][0])
    assert values[1]["valence"] == pytest.approx(values[0]["valence"], abs=0.04)
    assert values[1]["aus"]["AU12"] == pytest.approx(values[0]["aus"]["AU12"], abs=0.04)
    assert values[1]["head_pose"]["yaw"] == pytest.approx(values[0]["head_pose"]["yaw"], abs=1.5)


def test_one_picture(runtime: Runtime, portrait: Any, tmp_path: Path) -> None:
    path = tmp_path / "portrait.png"
    cv2.imwrite(str(path), cv2.cvtColor(portrait, cv2.COLOR_RGB2BGR))
    analyze(runtime, str(path), tmp_path / "x.jsonl", quiet=True)
    (event,) = lines(tmp_path / "x.jsonl")
    assert event["faces"][0]["expression"]["label"] == "happiness"  # she smiles
    assert event["faces"][0]["valence"] > 0.2


def test_a_reader_of_the_output_that_ends_is_no_error() -> None:
    command = [sys.executable, "-m", "service.cli", "analyze", "demo:", "--fps", "5", "--out", "-"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert json.loads(process.stdout.readline())["schema"] == "affect/1"
        process.stdout.close()
        assert "Traceback" not in process.stderr.read()
    assert process.returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_keeps_what_is_done(tmp_path: Path, number: int) -> None:
    out = tmp_path / "x.jsonl"
    command = [sys.executable, "-m", "service.cli", "analyze", "demo:", "--speed", "realtime", "--out", str(out)]
    command += ["--report", str(tmp_path / "report.html")]
    with started(command) as process:
        while not any(journal.stat().st_size > 5000 for journal in tmp_path.glob("*.part")):
            assert process.poll() is None
            threading.Event().wait(0.05)
        process.send_signal(number)
        _, err = process.communicate(timeout=180)
    assert process.returncode == 130
    assert b"interrupted after" in err
    assert b"Traceback" not in err
    beside = tmp_path / "x.jsonl.meta.json"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "report.html", out, beside]
    assert "Not whole: interrupted after" in (tmp_path / "report.html").read_text("utf-8")
    assert len(lines(out)) > 2
    assert json.loads(beside.read_text("utf-8"))["result"]["ending"] == "interrupted"


def test_a_neutral_step_of_a_recording_is_stated_in_what_made_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    film, out = tmp_path / "film.mp4", tmp_path / "x.parquet"
    with av.open(str(film), "w") as container:
        stream = container.add_stream("libx264", rate=4, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        first = next(item for item in demo_items(0.2) if isinstance(item, Frame))
        for n in range(46):
            picture = av.VideoFrame.from_ndarray(first.image, "rgb24")
            picture.pts = n
            container.mux(stream.encode(picture))
        container.mux(stream.encode())
    assert main(["analyze", str(film), "--out", str(out), "--neutral", "1"]) == 0
    made = json.loads((tmp_path / "x.parquet.meta.json").read_text("utf-8"))
    assert made["options"]["neutral"] == 1
    assert (made["result"]["neutral"]["state"], made["result"]["neutral"]["t"]) == ("done", 1.0)
    (baseline,) = made["result"]["baselines"].values()
    assert baseline["source"] == "neutral_step"
    table = pyarrow.parquet.read_table(out)
    assert json.loads(table.schema.metadata[b"affectstream"])["result"]["baselines"] == made["result"]["baselines"]
    assert abs(table.column("valence_from_baseline").to_pylist()[-1]) < 0.05
    capfd.readouterr()
    assert main(["analyze", str(film), "--out", str(out), "--neutral", "5"]) == 2
    assert "the 10 s of --neutral from 5 s are not within what is read, which ends at 11.50 s" in capfd.readouterr().err


def test_sound_alone_makes_events(runtime: Runtime, tmp_path: Path) -> None:
    path = tmp_path / "tone.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=16_000, layout="mono")
        tone = (np.sin(np.arange(32_000) * 0.1) * 9000).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(tone[None], "s16", "mono")
        frame.sample_rate = 16_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    events = [
        e.data for e in events_of_recording(runtime, open_source(str(path), realtime=False), stop=threading.Event())
    ]
    heard = [event for event in events if event["audio"]["status"] != "no_sound"]
    assert len(heard) >= 15
    assert all(event["faces"] == [] for event in heard)
    assert sorted(event["t"] for event in events) == [event["t"] for event in events]


def test_the_expressive_clip_has_one_face_throughout_and_its_units_are_those_one_sees(
    runtime: Runtime, shared: Path, tmp_path: Path
) -> None:
    path = shared / "data/video/one_face_expressive.mp4"
    outcome = analyze(runtime, str(path), tmp_path / "x.jsonl", quiet=True)
    events = lines(tmp_path / "x.jsonl")
    assert outcome.with_face >= 0.98 * len(events)
    assert {face["track"] for event in events for face in event["faces"]} == {1}

    def present(unit: str, start: float, end: float) -> list[float]:
        """Return the probabilities of a unit, lowest first, between two times in seconds."""
        between = [event["faces"][0] for event in events if event["faces"] and start <= event["t"] <= end]
        return sorted(face["aus"][unit] for face in between if face["status"] != "abstained")

    grimace, laugh, smile = (1.2, 2.2), (11.6, 12.6), (16.2, 18.3)  # seconds, as one sees them
    assert present("AU04", *grimace)[0] > 0.5
    assert present("AU04", *smile)[-1] < 0.1
    assert present("AU06", *smile)[0] > 0.5
    assert present("AU12", *smile)[0] > 0.9
    assert present("AU26", *smile)[-1] < 0.3
    assert np.median(present("AU25", *laugh)) > 0.5
    assert np.median(present("AU26", *laugh)) > 0.5


def test_an_address_that_answers_nothing_to_look_at_is_bad_input(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with socketserver.TCPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_address[1]}/none.mp4"
        assert main(["analyze", address, "--out", str(tmp_path / "x.jsonl")]) == 2
        server.shutdown()
    assert "404" in capfd.readouterr().err
