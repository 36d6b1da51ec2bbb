"""Eyes, blinks, nods, shakes and who speaks, on courses written by hand."""

from dataclasses import replace
from math import pi, sin

import numpy as np
import pytest
from helpers.estimates import face
from helpers.faces import networks
from hypothesis import given, settings
from hypothesis import strategies as st

from service.aggregation.signals import Signals
from service.capture.animation import BLINK_SECONDS, BLINKS
from service.capture.demo import demo_picture
from service.capture.media import Frame
from service.events import Eyes, Gaze, HeadGesture, Speech
from service.perception.eyelids import aspect_ratios
from service.perception.face import HeadPose
from service.perception.gaze_reader import GazeAngles
from service.perception.perceive import Perception
from service.perception.speech import AudioStatus

SPEECH, SILENCE, NO_SOUND = (AudioStatus(status, 0, -20.0) for status in ("speech", "silence", "no_sound"))
OPEN, SHUT = 0.3, 0.17  # aspect ratios


def seen(t, *, eyes=OPEN, pitch=0.0, yaw=0.0, lips=0.0, track=1):
    """A face whose eyes have an aspect ratio, whose head is turned, and whose lips are so far apart."""
    mesh = np.zeros((468, 3), np.float32)
    mesh[33], mesh[263], mesh[13], mesh[14] = (0, 0, 0), (100, 0, 0), (50, 60, 0), (50, 60 + 100 * lips, 0)
    made = face(t, track)
    return replace(made, eyes=(eyes, eyes), head_pose=HeadPose(pitch, yaw, 0.0), mesh=mesh)


def run(course, seconds, fps=30.0, heard=SPEECH, reasons=()):
    """Entries of one face over `seconds`; `course` gives the arguments of `seen` at a time."""
    signals, out = Signals(), []
    for i in range(round(seconds * fps)):
        t = i / fps
        entry = {"track": 1, "reasons": list(reasons)}
        out.append((t, signals.update(t, [seen(t, **course(t))], [entry], heard)[0]))
    return out


def lids(*closures):
    """A course of lids that shut for each of the (start, seconds)."""

    def at(t):
        down = max(
            (sin(pi * min((t - start) / 0.1, (start + long - t) / 0.1, 0.5)) for start, long in closures
             if start < t < start + long), default=0.0,
        )  # fmt: skip
        return {"eyes": OPEN - (OPEN - SHUT) * down}

    return at


@pytest.mark.parametrize("fps", [24, 30, 60])
def test_each_blink_is_told_once_when_it_has_ended(fps):
    out = run(lids((2.0, 0.2), (5.0, 0.25), (9.0, 0.2)), 12, fps)
    blinks = [(t, entry["eyes"]["blink_ms"]) for t, entry in out if entry["eyes"]["blink_ms"] is not None]
    assert [round(t) for t, _ in blinks] == [2, 5, 9]
    assert all(40 <= length <= 260 for _, length in blinks)
    assert out[-1][1]["eyes"]["blinks"] == 3
    assert out[-1][1]["eyes"]["blinks_per_min"] == pytest.approx(15, abs=1)
    assert not any(entry["eyes"]["closed"] for _, entry in out)


def test_the_demo_blinks_once_in_its_first_seconds_and_does_not_nod(portrait):
    signals, perception, out = Signals(), Perception(networks()), []
    for number in range(72):
        faces = perception(Frame(demo_picture(portrait, number), number / 30))
        out += signals.update(number / 30, faces, [{"track": face.track, "reasons": []} for face in faces], SILENCE)
    (end,) = (i / 30 for i, entry in enumerate(out) if entry["eyes"]["blink_ms"] is not None)
    assert BLINKS[0] < end < BLINKS[0] + BLINK_SECONDS + 0.05
    assert {entry["head_gesture"]["gesture"] for entry in out} == {"none"}


def test_closed_eyes_are_no_blink():
    out = run(lids((3.0, 2.0)), 8)
    assert out[-1][1]["eyes"]["blinks"] == 0
    assert next(t for t, entry in out if entry["eyes"]["closed"]) == pytest.approx(3.6, abs=0.1)
    assert out[-1][1]["eyes"]["closed"] is False
    assert {entry["eyes"]["openness"] for t, entry in out if 3.3 < t < 4.7} == {0.0}


def test_a_smile_or_a_look_down_is_no_blink():
    out = run(lambda t: {"eyes": OPEN if t < 3 else 0.24}, 8)
    assert out[-1][1]["eyes"]["blinks"] == 0
    assert not any(entry["eyes"]["closed"] for _, entry in out)


def test_there_is_no_rate_before_the_eyes_were_seen_for_long_enough():
    out = run(lids((2.0, 0.2)), 11)
    early, late = out[150][1]["eyes"], out[-1][1]["eyes"]
    assert (early["blinks_per_min"], early["reasons"]) == (None, ["warming_up"])
    assert late["blinks_per_min"] is not None
    assert late["reasons"] == []


def test_rare_pictures_say_that_blinks_are_missed():
    out = run(lids((2.0, 0.2)), 12, fps=5)
    assert out[-1][1]["eyes"]["reasons"] == ["too_few_frames"]
    assert out[-1][1]["eyes"]["openness"] is not None


def nodding(t, size=8.0):
    return {"pitch": size * sin(2 * pi * 2 * (t - 2)) if 2 < t < 3 else 0.0}


def shaking(t):
    return {"yaw": 10 * sin(2 * pi * 2 * (t - 2)) if 2 < t < 3.5 else 0.0}


@pytest.mark.parametrize("fps", [15, 30, 60])
@pytest.mark.parametrize(("course", "name"), [(nodding, "nod"), (shaking, "shake")])
def test_a_nod_and_a_shake_are_told_apart_while_they_go_on(course, name, fps):
    out = [(t, entry["head_gesture"]) for t, entry in run(course, 6, fps)]
    told = [t for t, entry in out if entry["gesture"] == name]
    assert {entry["gesture"] for _, entry in out} == {name, "none"}
    assert 2.2 < told[0] < 3.0
    assert told[-1] < 4.2  # 0.6 s after the last swing at most
    assert (out[-1][1]["nods"], out[-1][1]["shakes"]) == ((1, 0) if name == "nod" else (0, 1))


@pytest.mark.parametrize(
    "course",
    [
        lambda t: {"pitch": 20 * sin(2 * pi * t / 6)},  # slow
        lambda t: {"yaw": 0.0 if t < 2 or t > 4 else 25.0},  # a glance aside
        lambda t: {"pitch": 1.5 * sin(2 * pi * 2 * t)},  # small
        lambda t: {"pitch": -15.0 if t > 3 else 0.0},  # a look down
        lambda t: {"pitch": 6 * sin(2 * pi * 2 * t), "yaw": 40 * t - 28},  # while turning away
    ],
)
def test_other_movements_are_neither(course):
    out = run(course, 1.4 if course(1.0).get("yaw") == 12 else 6)
    assert (out[-1][1]["head_gesture"]["nods"], out[-1][1]["head_gesture"]["shakes"]) == (0, 0)


def talking(t):
    return {"lips": 0.05 + 0.04 * sin(2 * pi * 4 * t)}


def test_a_moving_mouth_speaks_only_where_speech_is_heard():
    assert run(talking, 2)[-1][1]["speech"]["speaking"] is True
    assert run(talking, 2, heard=SILENCE)[-1][1]["speech"]["speaking"] is False
    unheard = run(talking, 2, heard=NO_SOUND)[-1][1]["speech"]
    assert (unheard["speaking"], unheard["reasons"]) == (None, ["no_sound"])
    assert unheard["mouth_motion"] > 0.2


def test_a_smile_does_not_speak():
    out = run(lambda t: {"lips": 0.15 * min(max(t - 2, 0), 1)}, 5)
    assert not any(entry["speech"]["speaking"] for _, entry in out)


def test_of_several_faces_the_one_whose_mouth_moves_speaks():
    signals = Signals()
    for i in range(60):
        t = i / 30
        faces = [seen(t, track=1), seen(t, track=2, **talking(t)), seen(t, track=3, lips=0.01 * (i % 2))]
        out = signals.update(t, faces, [{"track": n, "reasons": []} for n in (1, 2, 3)], SPEECH)
    assert [entry["speech"]["speaking"] for entry in out] == [False, True, False]


@pytest.mark.parametrize("reason", ["turned_away", "blurred", "too_small", "too_dark", "occluded"])
def test_a_face_that_cannot_be_read_has_null_with_its_reason(reason):
    entry = run(talking, 12, reasons=[reason])[-1][1]
    for name, part, model in (("eyes", "openness", Eyes), ("head_gesture", "gesture", HeadGesture),
                              ("speech", "speaking", Speech)):  # fmt: skip
        assert entry[name][part] is None
        assert entry[name]["reasons"] == [reason]
        model.model_validate(entry[name])


def test_a_soft_picture_in_which_the_mesh_trembles_tells_nothing():
    signals = Signals()
    soft = face(0.0, sharpness=80.0)
    (entry,) = signals.update(0.0, [soft], [{"track": 1, "reasons": []}], SPEECH)
    assert entry["eyes"]["reasons"] == entry["head_gesture"]["reasons"] == entry["speech"]["reasons"] == ["blurred"]
    assert entry["eyes"]["openness"] is None


def test_a_face_that_has_just_gone_keeps_its_counts_and_nothing_else():
    signals = Signals()
    course = lids((1.0, 0.2))
    for i in range(60):
        signals.update(i / 30, [seen(i / 30, **course(i / 30))], [{"track": 1, "reasons": []}], SPEECH)
    (entry,) = signals.update(2.1, [], [{"track": 1, "reasons": []}], SPEECH)
    assert entry["eyes"]["blinks"] == 1
    assert entry["eyes"]["openness"] is None
    assert entry["eyes"]["reasons"] == entry["head_gesture"]["reasons"] == entry["speech"]["reasons"] == ["no_face"]


def test_gaze_is_read_five_times_a_second_where_there_is_an_iris_to_see():
    asked = []

    def read(face):
        asked.append(face.t)
        return GazeAngles(yaw=10.04, pitch=-3.0)

    signals = Signals(read)
    course = lids((1.0, 1.0))
    out = []
    for i in range(90):
        t = i / 30
        out.append(signals.update(t, [seen(t, **course(t))], [{"track": 1, "reasons": []}], SPEECH)[0]["gaze"])
    assert out[3] == {"yaw": 10.0, "pitch": -3.0, "age_ms": 100, "reasons": []}
    assert out[45] == {"yaw": None, "pitch": None, "age_ms": None, "reasons": ["eyes_closed"]}
    assert len(asked) <= 12
    assert not any(1.1 < t < 1.9 for t in asked)
    (lost,) = signals.update(3.1, [], [{"track": 1, "reasons": []}], SPEECH)
    assert lost["gaze"]["reasons"] == ["no_face"]
    for entry in (*out, lost["gaze"]):
        Gaze.model_validate(entry)


def test_without_a_reader_there_is_no_gaze():
    assert "gaze" not in run(lids(), 0.1)[-1][1]


@st.composite
def streams(draw):
    """Per frame: time, whether the face is there, its eyes, head and lips, and the reasons for not reading it."""
    frame = st.tuples(
        st.sampled_from([0.02, 0.04, 0.15, 0.4, 2.5]), st.booleans(), st.floats(0.1, 0.45), st.floats(-60, 60),
        st.floats(-60, 60), st.floats(0, 0.5), st.sampled_from([[], [], ["occluded"], ["unclear"]]),
        st.sampled_from([SPEECH, SILENCE, NO_SOUND]),
    )  # fmt: skip
    t, out = 0.0, []
    for step, *rest in draw(st.lists(frame, min_size=1, max_size=50)):
        t += step
        out.append((t, *rest))
    return out


def replayed(stream):
    signals, out = Signals(), []
    for t, there, eyes, pitch, yaw, lips, reasons, heard in stream:
        faces = [seen(t, eyes=eyes, pitch=pitch, yaw=yaw, lips=lips)] if there else []
        out.append(signals.update(t, faces, [{"track": 1, "reasons": reasons}], heard))
    return out


@given(streams(), streams())
@settings(max_examples=60, deadline=None)
def test_another_future_changes_nothing_and_every_entry_keeps_to_the_schema(stream, other):
    end = stream[-1][0]
    future = [(t + end, *rest) for t, *rest in other]
    out = replayed(stream + future)
    assert out[: len(stream)] == replayed(stream)
    for (entry,) in out:
        eyes, head, speech = (
            model.model_validate(entry[name])
            for name, model in (("eyes", Eyes), ("head_gesture", HeadGesture), ("speech", Speech))
        )
        assert eyes.openness is not None or eyes.reasons
        assert eyes.blinks_per_min is not None or eyes.reasons
        assert head.gesture is not None or head.reasons
        assert speech.speaking is not None or speech.reasons


def test_the_aspect_ratio_is_that_of_the_lids_over_the_width():
    mesh = np.zeros((468, 3), np.float32)
    for corners, uppers, lowers in (((33, 133), (160, 159, 158), (144, 145, 153)),
                                    ((263, 362), (387, 386, 385), (373, 374, 380))):  # fmt: skip
        mesh[corners[1]] = (30, 0, 0)
        mesh[list(uppers)], mesh[list(lowers)] = (15, -4, 0), (15, 5, 0)
    assert aspect_ratios(mesh) == pytest.approx((0.3, 0.3))
    assert aspect_ratios(np.zeros((468, 3), np.float32)) == (None, None)
