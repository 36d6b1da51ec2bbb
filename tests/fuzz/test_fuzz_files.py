"""Files that users bring: damaged annotations and checkpoints are named in a sentence, and settings are checked."""

import contextlib
import random
from pathlib import Path
from typing import Any

import pytest
from helpers.fuzz import cases, damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from models.errors import UserError
from service.settings import Settings, load_settings

ANNOTATIONS, CHECKPOINTS, SETTINGS = 200, 60, 150
QUICK = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])

_VA = "valence,arousal\n0.1,0.2\n-5,-5\n0.3,-0.4\n"
_OPENFACE = "frame, face_id, timestamp, confidence, success, AU01_r, AU12_r\n1, 0, 0.0, 0.98, 1, 0.10, 2.5\n" * 3


def test_damaged_annotations_get_a_sentence(tmp_path: Path) -> None:
    from models.training import affwild2, probabilities
    from service.datasets.feature_files import read_openface
    from service.datasets.labelled import lines, number, table

    def numbers(path: Path) -> None:
        for line, row in table(path, ("valence", "arousal")):
            for name in ("valence", "arousal"):
                number(path, line, name, row[name], -5, 1)

    readers: list[tuple[Any, str]] = [
        (numbers, _VA),
        (lines, _VA),
        (read_openface, _OPENFACE),
        (lambda path: probabilities.read(path, ("neutral", "anger"), ("AU1",)), "neutral,anger,AU1\n0.5,0.5,0.1\n"),
        (affwild2.read_va, _VA),
        (affwild2.read_expression, "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise\n0\n1\n-1\n"),
        (affwild2.read_au, "AU1,AU2,AU4,AU6,AU12,AU15,AU20,AU25\n0,0,1,0,1,0,-1,0\n" * 2),
        (affwild2.read_multi_task, "image,valence,arousal,expression\na/00001.jpg,0.1,0.2,3\na/00002.jpg,-5,-5,-1\n"),
    ]
    path = tmp_path / "one.csv"
    for seed in range(cases(ANNOTATIONS)):
        read, text = readers[seed % len(readers)]
        path.write_bytes(damaged(text.encode(), seed))
        with contextlib.suppress(UserError):
            read(path)


def test_damaged_checkpoints_get_a_sentence(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from models import checkpoint

    network = torch.nn.Sequential(torch.nn.Linear(8, 4), torch.nn.Linear(4, 2))
    path = tmp_path / "one.ckpt"
    checkpoint.save(path, {"state_dict": network.state_dict(), "epoch": 3, "name": "small"})
    whole = path.read_bytes()
    refused = 0
    for seed in range(cases(CHECKPOINTS)):
        path.write_bytes(damaged(whole, seed))
        try:
            checkpoint.load(network, path)
        except UserError:
            refused += 1
    assert refused > cases(CHECKPOINTS) / 4


VALUES = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["", "-1", "0", "1e309", "nan", "inf", "0x10", "65536", "true", "null", "[]", "{}", "demo:,,", "é\0"]
    ),
    st.integers().map(str),
    st.floats().map(str),
)


@settings(QUICK, max_examples=cases(SETTINGS))
@given(name=st.sampled_from(sorted(Settings.model_fields)), value=VALUES)
def test_settings_are_taken_or_refused_in_a_sentence(name: str, value: str) -> None:
    for given_value in (value, [value]):
        said = ""
        try:
            assert isinstance(load_settings(**{name: given_value}), Settings)
        except UserError as error:
            said = str(error)
        assert "\n" not in said.strip()


@settings(QUICK, max_examples=cases(SETTINGS))
@given(data=st.data())
def test_secrets_in_settings_are_not_shown(data: st.DataObject) -> None:
    secret = f"qZ7{random.Random(data.draw(st.integers(0, 1 << 30))).randrange(1 << 40)}Zq9"
    forms = ["redis://:{}@h/0", "redis://u:{}@h:x/0", "{}", "redis://{}", "rediss://h/{}", "{}://h"]
    form = data.draw(st.sampled_from(forms))
    name = data.draw(st.sampled_from(["redis", "token", "ice_servers", "source", "port", "host", "tls_key"]))
    try:
        shown = repr(load_settings(**{name: form.format(secret), "allowed_sources": "demo:"}))
    except UserError as error:
        shown = str(error)
    if name in ("redis", "token"):
        assert "Zq9" not in shown
