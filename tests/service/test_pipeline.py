"""The pipeline: what a change of the picture's size, or a clock that is no number, does to the events of a session."""

from dataclasses import replace

import cv2
import numpy as np
from helpers.sources import demo_items

from service.capture.media import Frame, Item
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
