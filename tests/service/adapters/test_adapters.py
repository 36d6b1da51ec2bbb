"""Every system, frame by frame as a session runs it, gives what its network gives for the whole recording at once."""

from concurrent.futures import Future
from dataclasses import replace
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch
from helpers.faces import networks as perception
from helpers.live_models import adapter, items_of, loaded, networks_of, run, seen

from engines.errors import EngineError, UserError
from models import registry
from models.networks import descriptors, inception_v3, phase, spectrogram
from models.training import inputs as training
from service.adapters import tsav
from service.adapters.descriptors import keep
from service.adapters.options import read_options
from service.adapters.pacing import FORGET
from service.capture.media import Frame, Sound
from service.inference.queue import Pending
from service.perception.mel import HOP, SAMPLE_RATE, MelStream, log_mel
from service.runtime import Runtime, RuntimeOptions

torch.set_num_threads(1)
RECURRENT = tuple(n for n in registry.systems() if hasattr(networks_of(n)[n], "state_layers"))


def faces_of(items):
    """(t, face) of the only face there is."""
    return [(t, item[0]) for t, item in items if not isinstance(item, Sound)]


def sound_of(items):
    return np.concatenate([item.samples for _, item in items if isinstance(item, Sound)])


def picture(crop, size, mean, std):
    resized = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR).astype(np.float32)
    return ((resized - np.float32(mean)) / np.float32(std)).transpose(2, 0, 1)


def vgg_pictures(faces):
    return torch.from_numpy(np.stack([picture(face.crop, 96, 128, 128) for _, face in faces]))


def affect(estimate):
    return [estimate.valence, estimate.arousal]


def close(found, expected):
    np.testing.assert_allclose(found, np.clip(np.asarray(expected), -1, 1), atol=1e-3, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("name", RECURRENT)
def test_a_recurrent_network_stepped_frame_by_frame_is_the_network_on_the_sequence(name):
    items = seen(1.0)
    faces = faces_of(items)
    found = run(adapter(name), name, items)
    assert len(found) == len(faces) == 30
    network = networks_of(name)[name]
    given = [vgg_pictures(faces)[None]]
    if "landmarks" in loaded(name).engine.inputs:
        points = [cv2.transform(face.landmarks[None].astype(np.float64), face.matrix)[0] for _, face in faces]
        given.append(torch.from_numpy((np.stack(points) / 55.5 - 1).reshape(1, len(faces), 136).astype(np.float32)))
    if "sound" in loaded(name).engine.inputs:
        given.append(torch.from_numpy(np.stack([asked["sound"] for asked, _ in found.values()]))[None])
    expected = network(*given)
    close([affect(estimate) for _, estimate in found.values()], expected["va"][0])
    if "au" in expected:
        aus = [list(estimate.aus.values()) for _, estimate in found.values()]
        np.testing.assert_allclose(aus, expected["au"][0].sigmoid(), atol=1e-3, rtol=0)


@torch.inference_mode()
def test_chunked_state_begins_anew_with_every_training_sequence():
    asked = [given["state"] for given, _ in run(adapter("mt-vgg-gru", "state=chunk"), "mt-vgg-gru", seen(3.2)).values()]
    assert [i for i, state in enumerate(asked) if not state.any()] == [0, 90]
    asked = [given["state"] for given, _ in run(adapter("mt-vgg-gru"), "mt-vgg-gru", seen(3.2)).values()]
    assert [i for i, state in enumerate(asked) if not state.any()] == [0]


def test_the_sound_picture_is_the_one_of_training():
    items = seen(3.2)
    power = spectrogram.power(sound_of(items))
    for (t, _), (asked, _) in run(adapter("av-mt-vgg-gru"), "av-mt-vgg-gru", items).items():
        if t > 2.5:
            np.testing.assert_allclose(asked["sound"], training.sound_picture(power, t), atol=1e-5, rtol=0)


@torch.inference_mode()
@pytest.mark.parametrize("name", ["mt-vgg", "facebehaviornet"])
def test_single_faces(name):
    items = seen(1.0)
    found = run(adapter(name, "rate=5"), name, items)
    times = dict(faces_of(items))
    assert len(found) == 5
    expected = networks_of(name)[name](vgg_pictures([(t, times[t]) for t, _ in found]))
    close([affect(estimate) for _, estimate in found.values()], expected["va"])
    shares = [estimate.expression for _, estimate in found.values()]
    np.testing.assert_allclose(shares, expected["expression"].softmax(1), atol=1e-3, rtol=0)
    assert all((estimate.compound is not None) == (name == "facebehaviornet") for _, estimate in found.values())


@torch.inference_mode()
@pytest.mark.parametrize("mode", ["past10", "truncate", "delayed"])
def test_tsav_reads_the_published_clip_and_sound(mode):
    items = seen(3.2) if mode != "delayed" else seen(6.2)
    network, samples, faces = networks_of("tsav")["tsav"], sound_of(items), faces_of(items)
    found = run(adapter("tsav", f"sound={mode}", "sound_rate=5"), "tsav", items)
    times = [t for t, _ in found]
    assert times == pytest.approx(np.arange(len(times)) / 5, abs=0.001)
    assert len(times) == (16 if mode != "delayed" else 6)
    for (t, _), (_, estimate) in list(found.items())[:: 1 if mode == "delayed" else 3]:
        end = int(t * SAMPLE_RATE + 1e-4) // HOP * HOP  # up to 5 s, all that there is, in every mode
        heard = samples[: max(end, 2 * HOP if mode == "delayed" else 0)]  # the reference waits for 20 ms
        given = clip_at(t, faces), log_mel(heard)[None]
        out = network(*(torch.from_numpy(x)[None] for x in given))[0]
        close(affect(estimate), out[7:9])
        np.testing.assert_allclose(estimate.expression, out[:7].softmax(0), atol=1e-3, rtol=0)
        np.testing.assert_allclose(list(estimate.aus.values()), out[9:].sigmoid(), atol=1e-3, rtol=0)


def clip_at(t, faces):
    """(4, 8, 112, 112): the published frames before `t`, normalised."""
    clip = np.zeros((8, 112, 112, 4), np.float32)
    for slot in range(8):
        n = round(t * 30) - 6 * (7 - slot)  # the published frame numbers
        if n >= 0:
            clip[slot] = np.dstack((faces[n][1].crop, faces[n][1].mask))
    clip = (clip / 255 - training.CLIP_MEAN) / training.CLIP_STD
    return np.float32(clip.transpose(3, 0, 1, 2))


@torch.inference_mode()
def test_tsav_hears_twice_a_second_and_sees_five_times():
    """Between two readings of the sound its embedding is used again, in the half second that it was read in."""
    items = seen(3.2)
    network, samples, faces = networks_of("tsav")["tsav"], sound_of(items), faces_of(items)
    found = run(adapter("tsav"), "tsav", items)
    read = [t for (t, _), (asked, _) in found.items() if "sound" in asked]
    assert read == pytest.approx([0.0, 0.6, 1.0, 1.6, 2.0, 2.6, 3.0], abs=0.001)
    assert all(np.isnan(asked["sound_embedding"]).all() == ("sound" in asked) for asked, _ in found.values())
    for (t, _), (_, estimate) in list(found.items())[::2]:
        when = max(x for x in read if x <= t)
        assert t - when < 0.5
        heard = log_mel(samples[: int(when * SAMPLE_RATE + 1e-4) // HOP * HOP])[None]
        out = network(*(torch.from_numpy(x)[None] for x in (clip_at(t, faces), heard)))[0]
        close(affect(estimate), out[7:9])


def test_tsav_hears_anew_when_others_come_or_go_and_reads_silence_once():
    alone = [(t, item) for t, item in seen(3.2) if not isinstance(item, Sound)]

    def company(t, faces):
        return (*faces, replace(faces[0], track=2)) if 0.7 < t < 2.3 else faces

    made = adapter("tsav")
    read = []
    for t, faces in alone:
        asked = made.inputs(t, company(t, faces), MelStream())
        if asked is not None:
            read += [round(t, 1)] * (len(asked["sound"]) > 0)
            made.estimates(t, company(t, faces), loaded("tsav").engine(asked))
    assert read == [0.0, 0.6, 0.8, 2.4, 2.6, 3.0]


def test_tsav_asks_with_the_sound_until_that_was_answered():
    made = adapter("tsav")
    asked = []
    for t, item in seen(1.0):
        if not isinstance(item, Sound) and (given := made.inputs(t, item, MelStream())) is not None:
            asked.append(len(given["sound"]) > 0)
            made.unanswered()
    assert asked == [True] * 5


def test_tsav_bridges_short_gaps_and_shows_longer_ones_as_black():
    items = [(t, item if not 0.3 < t < 0.8 else ()) for t, item in seen(1.0) if not isinstance(item, Sound)]
    made = adapter("tsav", "rate=30")
    for t, item in items:
        made.inputs(t, list(item), MelStream())
        made.estimates(t, [], {"valence_arousal": np.zeros((0, 2))})
    (clip,) = made._clips.clips([1], items[-1][0])  # slots at -0.43, -0.23, -0.03, 0.17, 0.37, 0.57, 0.77, 0.97
    assert [bool(slot.any()) for slot in clip] == [False, False, False, True, True, False, False, True]


@torch.inference_mode()
def test_descriptors_average_their_embeddings_as_published():
    items = seen(0.2)
    found = run(adapter("descriptors", "rate=30"), "descriptors", items)
    network = networks_of("descriptors")["descriptors"]
    mean, std = (255 * np.array(x) for x in (inception_v3.MEAN, inception_v3.STD))
    means = None
    for (_, face), (_, estimate) in zip(faces_of(items), found.values(), strict=True):
        new = network.embeddings(torch.from_numpy(picture(face.crop, 299, mean, std))[None])
        means = (
            new if means is None else {k: descriptors.smooth(means[k], new[k], descriptors.SMOOTHING[k]) for k in new}
        )
        out = network.classify(means)
        close(affect(estimate), out["va"][0])
        np.testing.assert_allclose(list(estimate.aus.values()), out["au"][0].sigmoid(), atol=1e-3, rtol=0)
        eight = np.append(estimate.expression * (1 - estimate.other), estimate.other)
        np.testing.assert_allclose(eight, out["expression"][0].softmax(0), atol=1e-3, rtol=0)


def test_descriptors_forget_by_the_clock():
    """At 30 frames a second as published; at any other rate, or none, the same is left after the same time."""
    assert keep(1 / 30, 0.0) == pytest.approx([7 / 8, 9 / 10])
    np.testing.assert_allclose(keep(0.1, 0.0), keep(1 / 30, 0.0) ** 3, rtol=1e-6)
    assert not keep(5.0, None).any()
    times = np.cumsum(np.random.default_rng(0).uniform(0.01, 0.3, 20))
    left = np.prod([keep(t, last) for last, t in pairwise([0.0, *times])], axis=0)
    np.testing.assert_allclose(left, np.array([7 / 8, 9 / 10]) ** (30 * times[-1]), rtol=1e-4)


@torch.inference_mode()
def test_the_ensemble_averages_two_networks_over_two_crops():
    name = "descriptors-ensemble"
    items = seen(0.2)
    (asked, estimate), *_ = run(adapter(name), name, items).values()
    mean, std = (255 * np.array(x) for x in (inception_v3.MEAN, inception_v3.STD))
    pictures = [torch.from_numpy(picture(asked[key], 299, mean, std))[None] for key in ("context", "face")]
    out = networks_of(name)[name](*pictures)
    close(affect(estimate), out["va"][0])
    np.testing.assert_allclose(list(estimate.aus.values()), out["au"][0], atol=1e-3, rtol=0)
    assert np.abs(asked["context"].astype(float) - asked["face"]).mean() > 10


@torch.inference_mode()
@pytest.mark.parametrize(
    ("mode", "unwrap", "legacy"),
    [("trailing", "reference", False), ("delayed", "reference", False), ("trailing", "correct", True)],
)
def test_mimamo_reads_motion_and_the_trailing_window(mode, unwrap, legacy):
    items = seen(0.5)
    faces = faces_of(items)
    options = (f"phase={mode}", f"unwrap={unwrap}", f"legacy_axis={str(legacy).lower()}")
    found = run(adapter("mimamo", *options), "mimamo", items)
    networks = networks_of("mimamo")
    lag = 6 if mode == "delayed" else 0
    assert len(found) == len(faces) - lag
    grey = phase.grey(np.stack([face.crop for _, face in faces]))
    offsets = np.arange(-12, 1) + lag  # the published window, or one that ends with its frame
    maps = [phase.phase_differences(grey[np.clip(n + offsets, 0, len(faces) - 1)], unwrap) for n in range(len(found))]
    crops = torch.from_numpy(np.stack([face.crop for _, face in faces[: len(found)]])).permute(0, 3, 1, 2).float()
    resized = torch.nn.functional.interpolate(crops, (256, 256), mode="bilinear")[..., 16:-16, 16:-16]
    mean = torch.tensor([131.0912, 103.8827, 91.4953])[:, None, None]
    features = networks["ferplus-resnet50"](resized - mean)["features"]
    phase_0, phase_1 = (torch.from_numpy(np.stack(x)) for x in zip(*maps, strict=True))
    for n, ((t, _), (_, estimate)) in enumerate(found.items()):
        assert t == faces[n][0]
        if n % 4 == 1:
            first = n if legacy else 0  # over a batch of one sequence the published code recurs in a single step
            expected = networks["mimamo"](*(x[None, first : n + 1] for x in (phase_0, phase_1, features)))[0, -1]
            close(affect(estimate), expected)


@pytest.mark.parametrize("name", ["tsav", "cnn-3rnn", "mimamo", "descriptors"])
def test_each_track_has_a_state_of_its_own(name):
    """A second face beside the first changes nothing about the first (its sound apart, which nobody gets then)."""
    alone = [(t, item) for t, item in seen(0.5) if not isinstance(item, Sound)]
    other = [(t, replace(item[0], track=2, crop=item[0].crop[::-1].copy())) for t, item in alone]
    both = [(t, (*item, second)) for (t, item), (_, second) in zip(alone, other, strict=True)]
    one, two = run(adapter(name), name, alone), run(adapter(name), name, both)
    for (t, track), (_, estimate) in one.items():
        assert affect(two[(t, track)][1]) == pytest.approx(affect(estimate), abs=1e-4)
    t = max(t for t, _ in one)
    assert affect(two[(t, 2)][1]) != affect(one[(t, 1)][1])


@pytest.mark.parametrize("name", ["tsav", "cnn-3rnn", "mimamo", "descriptors"])
def test_a_face_that_was_away_for_more_than_a_second_begins_anew(name):
    frames = [(t, item) for t, item in seen(0.5) if not isinstance(item, Sound)]
    back = [(t + frames[-1][0] + FORGET + 1.0, item) for t, item in frames[:1]]
    made = adapter(name)
    (_, first), *_, (_, last) = run(made, name, frames).values()
    (_, again), *_ = run(made, name, back).values()
    assert affect(again) == affect(first)
    assert affect(last) != affect(first)


def timeless(event):
    return {key: value for key, value in event.data.items() if key not in ("captured_at", "timing_ms")}


def events(pipeline, items):
    given = [[pipeline.frame(item)] if isinstance(item, Frame) else pipeline.sound(item) for item in items]
    return [timeless(event) for events in given for event in events]


@pytest.mark.parametrize("name", ["tsav", "av-mt-vgg-gru", "cnn-1rnn", "mimamo", "descriptors-ensemble"])
def test_future_frames_change_nothing(name):
    half = 0.5
    noise = np.random.default_rng(0)

    def disturbed(item):
        if item.t <= half:
            return item
        if isinstance(item, Frame):
            return replace(item, image=noise.integers(0, 256, item.image.shape, np.uint8))
        return replace(item, samples=noise.standard_normal(len(item.samples)).astype(np.float32))

    items = items_of(2 * half)
    made = Runtime(loaded(name), perception(), RuntimeOptions(model=name, max_faces=1))
    try:
        truth = events(made.pipeline("a"), items)
        other = events(made.pipeline("a"), [disturbed(item) for item in items])
        again = events(made.pipeline("a"), items)
    finally:
        made.close()
    before = sum(event["t"] <= half for event in truth)
    assert before >= 15
    assert truth[:before] == other[:before]
    assert truth != other
    assert truth == again
    assert all(event["model"]["trained"] is False for event in truth)
    assert all(event["faces"][0]["valence"] is not None for event in truth)


def test_a_slow_model_stalls_no_event():
    """Live, the events between two answers hold the last value; a face without any answer yet says so."""
    made = Runtime(loaded("tsav"), perception(), RuntimeOptions(model="tsav", max_faces=1))
    asked = []

    def ask(inputs):
        pending = Pending()
        asked.append((pending, inputs))
        return pending

    def answer():
        pending, inputs = asked[-1]
        pending.set_result(loaded("tsav").engine(inputs))

    frames = [item for item in items_of(2.0) if isinstance(item, Frame)]
    try:
        pipeline = made.pipeline("x", live=True)
        assert pipeline._submit is not None
        assert made.pipeline("y")._submit is None
        pipeline._submit = ask
        first = [pipeline.frame(frame).data["faces"][0] for frame in frames[:10]]
        assert {(face["status"], *face["reasons"]) for face in first} == {("abstained", "not_read_yet")}
        assert len(asked) == 1, "one question at a time"
        answer()
        read = pipeline.frame(frames[10]).data["faces"][0]
        assert (read["status"], read["age_ms"]) == ("warming_up", 333)
        assert len(asked) == 2
        held = pipeline.frame(frames[11]).data["faces"][0]
        assert (held["status"], held["age_ms"], held["valence"]) == ("held", 367, read["valence"])
        answer()
        newer = pipeline.frame(frames[12]).data["faces"][0]
        assert (newer["status"], newer["age_ms"]) == ("warming_up", 67)
        pipeline.frame(frames[18])
        asked[-1][0].set_exception(EngineError("broke"))
        broken = pipeline.frame(frames[19]).data["faces"][0]
        assert (broken["status"], "engine_failed" in broken["reasons"]) == ("held", True)
    finally:
        made.close()


@pytest.mark.parametrize(
    "text", ["rate", "rate=0", "rate=fast", "sound=loud", "colour=red", "state=", "sound_rate=-1", "legacy_axis=1"]
)
def test_an_option_that_there_is_not_is_refused(text):
    with pytest.raises(UserError, match=text.split("=")[0]):
        read_options([text])


def test_options_are_read():
    made = read_options(["rate=2.5", "sound=delayed", "legacy_axis=true", "sound_rate=1"])
    assert (made.rate, made.sound, made.state) == (2.5, "delayed", "carry")
    assert (made.legacy_axis, made.sound_rate, made.unwrap) == (True, 1.0, "reference")
    assert tsav.DELAY == 5.0
    assert isinstance(Pending(), Future)


def test_a_face_that_stays_keeps_its_state_however_rarely_it_is_read():
    asked = [given["state"].any() for given, _ in run(adapter("cnn-1rnn", "rate=0.5"), "cnn-1rnn", seen(4.2)).values()]
    assert asked == [False, True, True]
