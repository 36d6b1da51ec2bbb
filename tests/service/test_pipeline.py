"""The pipeline: what a change of the picture's size, or a clock that is no number, does to the events of a session."""

from dataclasses import replace

import cv2
import numpy as np
from helpers.sources import demo_items
from jsonschema import Draft202012Validator

from service.capture.media import Frame, Item
from service.events import event_schema
from service.pipeline import Pipeline
from service.runtime import Runtime


def resized(item: Frame, width: int, height: int) -> Frame:
    image = cv2.resize(item.image, (width, height), interpolation=cv2.INTER_AREA)
    return replace(item, image=np.asarray(image, np.uint8))


def frames(seconds: float) -> list[Frame]:
    items: list[Item] = demo_items(seconds)
    return [item for item in items if isinstance(item, Frame)]


def test_windows_go_on_while_a_sender_enlarges_its_picture(runtime: Runtime) -> None:
    pipeline = runtime.pipeline("ramp")
    for index, frame in enumerate(frames(2.0)):
        size = (640, 360) if index < 30 else (960, 540)
        event = pipeline.frame(resized(frame, *size)).data
        (face,) = event["faces"]
        assert face["track"] == 1
        assert event["image_size"] == list(size)
    assert face["windows"]["1s"] is not None
    assert face["box"][2] > 100


def test_a_lost_face_has_its_box_in_the_pixels_of_the_event(runtime: Runtime) -> None:
    pipeline = runtime.pipeline("ramp")
    (first, *_) = frames(0.2)
    seen = pipeline.frame(resized(first, 640, 360)).data["faces"][0]
    empty = Frame(np.full((720, 1280, 3), 90, np.uint8), first.t + 0.2)
    event = pipeline.frame(empty).data
    (held,) = event["faces"]
    assert held["status"] == "held"
    assert np.allclose(held["box"], 2 * np.array(seen["box"]), atol=0.2)
    tall = Frame(np.full((1280, 720, 3), 90, np.uint8), first.t + 0.3)
    assert pipeline.frame(tall).data["faces"] == []


def test_a_time_that_is_no_number_leaves_the_clock_where_it_was(runtime: Runtime) -> None:
    pipeline: Pipeline = runtime.pipeline("clock")
    first, second, *_ = frames(0.2)
    t = pipeline.frame(replace(first, t=3.0)).data["t"]
    assert pipeline.frame(replace(second, t=float("nan"))).data["t"] == t == 3.0


def test_a_neutral_step_is_told_in_its_events_and_becomes_the_baseline(runtime: Runtime) -> None:
    pipeline = runtime.pipeline("asked")
    (first, *_) = frames(0.2)
    shown = [pipeline.frame(replace(first, t=0.0)).data]
    pipeline.begin_neutral_step()
    shown += [pipeline.frame(replace(first, t=n / 4)).data for n in range(1, 44)]
    for event in shown:
        Draft202012Validator(event_schema()).validate(event)
    assert pipeline.neutral is not None
    steps = [event.get("neutral") for event in shown]
    assert steps[0] is None
    assert [step["state"] for step in steps[1:42] if step is not None] == ["running"] * 40 + ["done"]
    assert (steps[1], steps[42]) == ({"state": "running", "t": 0.25, "left_s": 10.0, "faces": []}, None)
    (found,) = steps[41]["faces"]
    assert (found["track"], found["read_s"]) == (1, 10.0)
    (face,) = shown[-1]["faces"]
    assert face["baseline"]["source"] == "neutral_step"
    assert face["baseline"]["valence"] == found["valence"]
    assert abs(face["from_baseline"]["valence"]) < 0.05
    pipeline.reset_baseline()
    assert pipeline.frame(replace(first, t=11.0)).data["faces"][0]["baseline"]["source"] is None
    pipeline.begin_neutral_step()
    pipeline.reset_baseline()
    assert pipeline.neutral.state == "failed"
    assert "neutral" not in pipeline.frame(replace(first, t=11.25)).data
