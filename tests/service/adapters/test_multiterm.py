"""Multi-term boosting live is the computation over the whole recording, and says what it does not get."""

import json
from dataclasses import replace

import numpy as np
import pytest
from helpers.sources import demo_items

from engines import weights
from engines.errors import EngineError, UserError, WeightsError
from engines.load import LoadedEngine
from engines.papers import boosted
from models.multiterm import system as boosters
from models.multiterm.live_windows import slot_of
from models.multiterm.windows import SHIFT
from service.adapters import multiterm
from service.adapters.face_mt import Facts
from service.adapters.feature_engine import FeatureEngine
from service.adapters.frame_features import BODY_PERIOD, IRIS_PERIOD, FrameFeatures
from service.adapters.multiterm import Multiterm, system_at
from service.adapters.options import ModelOptions
from service.capture.media import Frame
from service.cli import main
from service.datasets.multiterm import Person
from service.perception.mel import MelStream
from service.perception.networks import Networks
from service.perception.perceive import Perception

pytest.importorskip("lightgbm", reason="needs LightGBM")
SECONDS = 2.6
FACTS = Facts((), ("AU12",), np.zeros((468, 2), np.float32))


@pytest.fixture(scope="module")
def loaded():
    return multiterm.load("openvino", untrained=True)


@pytest.fixture(scope="module")
def seen():
    """The demo's times and faces."""
    perception = Perception(Networks())
    return [(item.t, perception(item)) for item in demo_items(SECONDS) if isinstance(item, Frame)]


def run(loaded, seen, made=None):
    """Estimates by track and time; `made`: an adapter that has seen something already."""
    made, mel, found = made or Multiterm(loaded, ModelOptions()), MelStream(), {}
    for t, faces in seen:
        inputs = made.inputs(t, faces, mel)
        if inputs is not None:
            for track, estimate in made.estimates(t, faces, loaded.engine(inputs)).items():
                found[track, estimate.t] = estimate
    return found


@pytest.fixture(scope="module")
def live(loaded, seen):
    return run(loaded, seen)


@pytest.fixture(scope="module")
def frames(loaded, seen):
    """The features of the whole recording, as training gets them."""
    person = Person(loaded.engine)
    for t, faces in seen:
        person.add(t, faces[0])
    return person.arrays()


def test_live_is_the_computation_over_the_recording(loaded, seen, live, frames):
    system = system_at(loaded.weights.location)
    times = {slot_of(t): t for t, _ in seen}
    ends = np.array(sorted({0, *range(SHIFT - 1, len(frames["au"]), SHIFT)}))
    whole = system.predict(system.windows(frames, ends))
    assert [t for _, t in live] == [times[end] for end in ends.tolist()]
    for i, estimate in enumerate(live.values()):
        np.testing.assert_allclose((estimate.valence, estimate.arousal), whole["va"][i], atol=1e-9)
        np.testing.assert_allclose(estimate.expression, whole["expression"][i], atol=1e-6)
    assert len({estimate.valence for estimate in live.values()}) > 3  # what moves, moves them


def test_features_are_openfaces_and_come_at_their_own_rates(loaded, frames):
    assert {name: x.shape[1] for name, x in frames.items()} == {
        **boosters.MODALITIES, "deep": loaded.engine.width,
    }  # fmt: skip
    slots = len(frames["au"])
    assert np.isfinite(frames["head"]).all()
    assert np.isfinite(frames["deep"]).all()
    gaze = np.isfinite(frames["gaze"]).all(1).sum()
    assert slots / IRIS_PERIOD - 1 <= gaze <= slots / IRIS_PERIOD + 2
    body = np.isfinite(frames["pose"]).any(1).sum()
    assert slots / BODY_PERIOD - 3 <= body <= slots / BODY_PERIOD + 1


def test_future_frames_change_nothing(loaded, seen, live):
    half = len(seen) // 2
    other = [(t, [replace(face, crop=255 - face.crop, image=255 - face.image) for face in faces]) for t, faces in seen]
    changed = run(loaded, [*seen[:half], *other[half:]])
    before = [at for at in live if at[1] < seen[half][0]]
    assert len(before) > 3
    for at in before:
        assert changed[at].valence == live[at].valence
        np.testing.assert_array_equal(changed[at].expression, live[at].expression)
    assert any(changed[at].valence != live[at].valence for at in live if at not in before)


def test_what_is_missing_is_named_and_unknown_not_zero(loaded, seen, live):
    first = next(iter(live.values()))
    assert "pose" in first.missing  # the body is looked for before it is read
    last = list(live.values())[-1]
    assert "LSmallToe" in last.missing
    assert not {"pose", "gaze", "head", "au", "deep", "AU06_r", "AU12_r", "AU23_c", "Nose"} & set(last.missing)
    crops = [(t, [replace(face, image=None) for face in faces]) for t, faces in seen[:20]]
    for estimate in run(loaded, crops).values():
        assert {"head", "gaze", "pose"} <= set(estimate.missing)
        assert estimate.valence is not None
        assert np.isfinite(estimate.valence)


def test_a_gap_of_a_fifth_of_a_second_is_held_and_a_longer_one_unknown(loaded, seen):
    features = FrameFeatures(FACTS)

    def read(t):
        faces = seen[0][1]
        outputs = loaded.engine(features.ask(t, faces))
        (slots,) = features.read(t, faces, outputs | {"aus": np.ones((1, 1))}).values()
        return slots

    assert [(slot.number, slot.first) for slot in read(0.0)] == [(0, True)]
    slots = read(0.5)
    assert [slot.number for slot in slots] == list(range(1, 16))
    assert [bool(np.isfinite(slot.row["head"]).all()) for slot in slots] == [True] * 6 + [False] * 8 + [True]
    assert [slot.t for slot in slots] == [0.0] * 14 + [0.5]
    again = read(2.0)
    assert [(slot.number, slot.first) for slot in again] == [(60, True)]  # away for more than a second


def test_with_several_faces_one_body_is_read_at_a_time(loaded, seen):
    face = seen[0][1][0]
    faces = [replace(face, track=track) for track in (1, 2, 3)]
    features, looked = FrameFeatures(FACTS), []
    for i in range(4 * SHIFT):
        inputs = features.ask(i / 30, faces)
        pictures = inputs.get("scene", inputs.get("person"))
        if pictures is not None:
            looked.append(np.flatnonzero(pictures.reshape(3, -1).any(1)).tolist())
        features.unanswered()
    assert looked == [[0], [1], [2], [0]]


def test_eyes_and_bodies_are_only_looked_at_for_what_was_learned(seen):
    asked = FrameFeatures(FACTS, wanted=("au", "deep")).ask(0.0, seen[0][1])
    assert asked.keys() == {"face", "points"}


def test_deep_features_of_other_weights_are_not_taken_for_its_own(loaded, seen, tmp_path):
    system = system_at(loaded.weights.location)
    path = tmp_path / "other.json"
    replace(system, extractor="face-mt-0").save(path)
    source = weights.Source(path=str(path))
    other = LoadedEngine(loaded.engine, replace(loaded.weights, sources=(source,)), None)
    assert all("deep" in estimate.missing for estimate in run(other, seen[:10]).values())


def test_a_recording_is_analysed_and_every_event_says_untrained(shared, tmp_path):
    clip = shared / "data" / "video" / "one_face_expressive.mp4"
    out = tmp_path / "out.jsonl"
    assert main(["analyze", str(clip), "--model", "multiterm", "--untrained", "--fps", "2", "--out", str(out)]) == 0
    events = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert len(events) > 30
    assert {event["model"]["trained"] for event in events} == {False}
    assert all({"pose", "LSmallToe"} & set(event["model"]["missing"]) for event in events)  # no feet in sight
    read = [face for event in events for face in event["faces"] if face["status"] in ("ok", "warming_up")]
    assert len(read) > 20
    assert all(face["valence"] is not None and face["expression"] is not None for face in read)


def test_without_boosters_it_is_refused_and_in_another_precision_too(tmp_path, monkeypatch):
    with pytest.raises(EngineError, match="runs on openvino:fp32, not openvino:int8"):
        multiterm.load("openvino:int8", untrained=True)
    monkeypatch.setattr(multiterm, "find_spec", lambda name: None)
    with pytest.raises(WeightsError, match=r"needs LightGBM; install it: pip install 'affectstream\[multiterm\]'"):
        multiterm.load("openvino", untrained=True)
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="affectstream train multiterm"):
        boosted.system(256)


def test_boosters_are_taken_in_whole_or_not_at_all(loaded, tmp_path, monkeypatch, capsys):
    file = tmp_path / "trained.json"
    file.write_bytes(loaded.weights.location.read_bytes())
    monkeypatch.setenv("AFFECTSTREAM_CACHE", str(tmp_path / "cache"))
    assert main(["weights", "import", "multiterm", str(file)]) == 0
    assert "trained.json is now the checkpoint of multiterm" in capsys.readouterr().out
    found = boosted.system(loaded.engine.width)
    assert found.trained
    assert found.version.startswith("multiterm-")
    assert "face-mt" in found.licence
    assert system_at(found.location).boosters == system_at(loaded.weights.location).boosters
    content = json.loads(file.read_text("utf-8"))
    spoilt = {
        "it lacks fusion/valence": content | {"boosters": {**content["boosters"], "fusion/valence": None}},
        "au/1/valence reads": content | {"boosters": content["boosters"] | {
            "au/1/valence": content["boosters"]["head/1/valence"]}},
        "its modalities are taste": content | {"standard": {"taste": [[0.0], [1.0]]}},
        "its windows are": content | {"terms": [1, 3]},
    }  # fmt: skip
    del spoilt["it lacks fusion/valence"]["boosters"]["fusion/valence"]
    for what, wrong in spoilt.items():
        file.write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=what):
            boosted.import_boosters([file])
    file.write_text(json.dumps(content)[:-100])
    with pytest.raises(UserError, match="is not a multi-term model"):
        boosted.import_boosters([file])
    assert boosted.system(loaded.engine.width) == found


def test_the_engine_reads_no_black_row_and_joins_sessions(loaded, seen):
    engine: FeatureEngine = loaded.engine
    features = FrameFeatures(FACTS)
    inputs = features.ask(0.0, seen[0][1])
    twice = {name: np.concatenate((x, np.zeros_like(x))) for name, x in inputs.items()}
    one, two = engine(inputs), engine(twice)
    assert two["boxes"][1].any() == two["logits"][1].any() == False  # noqa: E712
    for name, x in one.items():
        np.testing.assert_allclose(two[name][:1], x, atol=1e-5, err_msg=name)
