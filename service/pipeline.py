"""The pipeline of one stream: it makes events of frames, sound and changes of state.

It uses no other clock than the media's, so that a recording gives the events of the live stream.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import Any

from engines.engine import Arrays
from engines.errors import EngineError
from service import metrics
from service.adapters.adapter import Adapter, Estimate, Infer
from service.aggregation.aggregate import Aggregator
from service.aggregation.fusion import Fusion
from service.aggregation.gaze import ReadGaze
from service.aggregation.signals import Signals
from service.capture.media import SAMPLE_RATE, Frame, Sound, State, StateChange
from service.events import SCHEMA, Event
from service.inference.queue import Pending, Superseded
from service.neutral import ASKED, NeutralStep
from service.perception.face import Face
from service.perception.mel import MAX_JITTER, MelStream
from service.perception.picture_size import Size, scale_between
from service.perception.speech import AudioStatus, SpeechDetector
from service.settings import Smoothing

SOUND_ONLY_AFTER = 1.0  # s without a picture before sound alone makes events
SOUND_AHEAD = 0.5  # s by which sound may be ahead of a picture without its stamps being wrong
SOUND_ONLY_PERIOD = 0.1  # s between events of a source that has only sound
TICK_SLACK = 1e-6  # s; a frame that lies on a tick but for rounding counts as on it
_PERCEPTION, _INFERENCE, _AGGREGATION = map(metrics.STAGE_SECONDS.labels, ("perception", "inference", "aggregation"))
_EVENTS = metrics.FRAMES.labels("event")
_ROUNDING = 1e-6  # s; a time that is a whole number of samples but for rounding must not wait for one more

Submit = Callable[[Arrays], Pending]  # inputs -> outputs to come


@dataclass(frozen=True, slots=True)
class _Awaited:
    """Hold a request that the model has not answered yet, about the `faces` of the frame at `t` seconds."""

    t: float
    faces: list[Face]
    pending: Pending


class _SoundOnly:
    """Say when sound alone makes an event, because the source gives no pictures or has stopped giving them."""

    def __init__(self, rate: float | None) -> None:
        """Make an event every `SOUND_ONLY_PERIOD` seconds, or `rate` a second if that is slower."""
        self.ahead = 0.0  # s, by which the sound is ahead of the pictures
        self._period = max(SOUND_ONLY_PERIOD, 0.0 if rate is None else 1 / rate)
        self._picture: float | None = None  # s, of the newest picture
        self._first = True  # the next sound is the first one after the newest picture

    def picture(self, t: float) -> None:
        """Note a picture at `t` seconds."""
        self._picture, self._first = t, True

    def sound(self, t: float) -> None:
        """Note sound that begins at `t` seconds.

        Where the first sound after a picture is ahead of it, all is taken to be ahead: it would otherwise count as
        sound without pictures, and stop the clock for late pictures.
        """
        if self._first:
            ahead = t - self._picture if self._picture is not None else 0.0
            self.ahead, self._first = ahead if ahead > SOUND_AHEAD else 0.0, False

    def due(self, newest: float) -> float:
        """Return the time on the sound's clock of the next event, if the newest one was at `newest` seconds."""
        quiet_since = self._period if self._picture is None else self._picture + SOUND_ONLY_AFTER
        return max(quiet_since, newest + self._period) + self.ahead


class Pipeline:
    """Hold tracks, sound and model state of one stream, and turn its items into events. Driven by one thread.

    Attributes:
        name: Name of the session.
        incarnation: How often the session began, from 1; written into each event.
        semaphore: Is held by the thread that drives a live session while it works.
        purpose: Name of the live session's purpose, written into each event; None for the demo and recordings.
        neutral: The newest neutral step and what came of it; None before the first.
    """

    def __init__(
        self,
        name: str,
        perception: Callable[[Frame], list[Face]],
        adapter: Adapter,
        infer: Infer,
        model: Callable[[], Mapping[str, Any]],
        *,
        submit: Submit | None = None,
        fusion: Fusion | None = None,
        gaze: ReadGaze | None = None,
        semaphore: AbstractContextManager[Any] | None = None,
        incarnation: int = 1,
        smoothing: Smoothing = "normal",
        rate: float | None = None,
    ) -> None:
        """Begin a stream.

        Args:
            name: Name of the session.
            perception: Finds the faces of a frame.
            adapter: Makes the model's inputs and reads its outputs.
            infer: Runs the model on inputs and waits for its outputs.
            model: Returns what the events say of the model and the engine that runs it now.
            submit: Runs the model without waiting, for a model slower than the frames: an event then waits for no
                answer, and values are held until the next one is there. With None every event waits for its own
                answer, so that a recording gives the same each time.
            fusion: Fuses the voice into the only face in view; None reads faces alone.
            gaze: Reads where a face looks; None leaves gaze out.
            semaphore: See the class.
            incarnation: See the class.
            smoothing: How strongly valence, arousal and expressions are smoothed.
            rate: Events a second at most; None makes one of each frame.
        """
        self.name = name
        self.incarnation = incarnation
        self.semaphore = semaphore or nullcontext()
        self.purpose: str | None = None
        self.neutral: NeutralStep | None = None
        self._step_asked = False
        self._perception = perception
        self._adapter = adapter
        self._infer = infer
        self._submit = submit
        self._awaited: deque[_Awaited] = deque()
        self._model = model
        self._missing: list[str] = []  # what the model did not get when it last answered
        self._mel = MelStream()
        self._speech = SpeechDetector(self._mel)
        self._fusion = fusion
        self._aggregator = Aggregator(smoothing)
        self._rate = rate
        self._due = 0.0  # s, of the next frame that is wanted
        self._sound_only = _SoundOnly(rate)
        self._signals = Signals(gaze)
        self._seq = 0
        self._t = 0.0  # s, of the newest event
        self._size: Size | None = None  # of the newest picture
        self._state = State.CONNECTING

    def state(self, change: StateChange, file: str | None = None) -> Event:
        """Return the event of a change of the source's state; `file` names the picture that it is about, if any."""
        self._state = change.state
        heard = self._speech.status(self._t)
        unreadable = file is not None and change.state is State.FAILED
        reasons = ["unreadable"] if unreadable else self._stale()
        return self._event(self._t, heard, faces=[], reasons=reasons, detail=change.detail, file=file)

    def marker(self, marker: Mapping[str, Any]) -> Event:
        """Return the event of a marker, whose fields are those of `service.events.Marker`."""
        return self._note(marker=marker)

    def alert(self, alert: Mapping[str, Any]) -> Event:
        """Return the event of an alert, whose fields are those of `service.events.Alert`."""
        return self._note(alert=alert)

    def sound(self, sound: Sound) -> list[Event]:
        """Take sound in, and return an event every `SOUND_ONLY_PERIOD` or slower where no picture comes any more.

        Sound is taken in up to each event's time, so that the events do not depend on how it was cut into pieces.
        """
        events = []
        begin = 0  # samples
        self._sound_only.sound(sound.t)
        while begin < len(sound.samples):
            due = self._sound_only.due(self._t)
            t = sound.t + begin / SAMPLE_RATE
            start = self._mel.end if abs(t - self._mel.end) <= MAX_JITTER else t
            count = max(1, math.ceil((due - start - _ROUNDING) * SAMPLE_RATE))
            self._mel.push(Sound(sound.samples[begin : begin + count], t))
            begin += count
            end = self._mel.end
            if end >= due - _ROUNDING:
                heard = self._speech.status(end)
                if self._fusion is not None:
                    self._fusion.hear(end, heard, self._speech)
                t = end - self._sound_only.ahead
                faces = self._signals.update(t, [], self._aggregator.update(t, [], {}), heard)
                events.append(self._event(t, heard, faces=faces, reasons=["no_face"]))
        return events

    def wants(self, frame: Frame) -> bool:
        """Return whether `frame` is to be read: there is no rate, or it is the first one at or after a tick."""
        return self._rate is None or frame.t >= self._due - TICK_SLACK

    def skip(self, frame: Frame) -> None:
        """Note a picture that is not to be read, so that sound alone makes no event in its place."""
        self._sound_only.picture(max(frame.t, self._t))

    def frame(self, frame: Frame, file: str | None = None) -> Event:
        """Read the faces of a frame and return its event; `file` names the picture, if it has a name."""
        t = max(self._t, frame.t)  # the session clock never goes back, and a time that is not a number changes nothing
        self._sound_only.picture(t)
        if self._rate is not None:
            self._due = (math.floor(t * self._rate + TICK_SLACK) + 1) / self._rate
        if frame.t != t:
            frame = replace(frame, t=t)
        if self._step_asked:
            self._step_asked = False
            self._aggregator.begin_neutral_step(t)
        started = time.perf_counter()
        faces = self._perception(frame)
        self._change_size((frame.image.shape[1], frame.image.shape[0]))
        perceived = time.perf_counter()
        estimates, waited, failed = self._estimate(t, faces)
        heard = self._speech.status(t)
        if self._fusion is not None:
            self._fusion.hear(t, heard, self._speech)
            estimates = self._fusion(t, faces, estimates)
        inferred = time.perf_counter()
        if estimates:
            self._missing = list(dict.fromkeys(name for one in estimates.values() for name in one.missing))
        entries = self._aggregator.update(t, faces, estimates, engine_failed=failed)
        step = self._aggregator.neutral_step(t)
        if step is not None:
            self.neutral = step
        entries = self._signals.update(t, faces, entries, heard)
        done = time.perf_counter()
        event = self._event(
            t,
            heard,
            faces=entries,
            reasons=[] if faces else ["no_face"],
            captured_at=datetime.fromtimestamp(frame.captured_at, UTC).isoformat(timespec="milliseconds")[:-6] + "Z",
            timing_ms={
                "perception": round((perceived - started) * 1e3, 2),
                "queue": round((started - frame.entered + waited) * 1e3, 2),
                "inference": round((inferred - perceived - waited) * 1e3, 2),
                "total": round((done - frame.entered) * 1e3, 2),
            },
            image_size=[frame.image.shape[1], frame.image.shape[0]],
            file=file,
            neutral=None if step is None else asdict(step),
            landmarks={face.track: face.landmarks for face in faces},
        )
        _PERCEPTION.observe(perceived - started)
        _INFERENCE.observe(inferred - perceived)
        _AGGREGATION.observe(done - inferred)
        _EVENTS.inc()
        return event

    @property
    def t(self) -> float:
        """Return the seconds on the session's clock of the newest event."""
        return self._t

    def reset_baseline(self) -> None:
        """Start the neutral baseline of every track anew."""
        self._aggregator.reset_baseline()
        self.end_neutral_step()

    def begin_neutral_step(self) -> None:
        """Begin the neutral step (`service.neutral`) with the next frame."""
        self._step_asked, self.neutral = True, ASKED

    def end_neutral_step(self) -> None:
        """End a neutral step that runs, without a result."""
        if self.neutral is not None and self.neutral.state == "running":
            self.neutral = replace(self.neutral, state="failed", left_s=0.0)
        self._step_asked = False

    def _estimate(self, t: float, faces: list[Face]) -> tuple[dict[int, Estimate], float, bool]:
        """Return estimates by track, seconds spent waiting for the engine, and whether it failed."""
        if self._submit is not None:
            return self._estimate_later(self._submit, t, faces)
        inputs = self._adapter.inputs(t, faces, self._mel) if faces else None
        if inputs is None:
            return {}, 0.0, False
        try:
            outputs, waited = self._infer(inputs)
        except EngineError as error:  # logged and counted where it failed; the session goes on
            self._adapter.unanswered()
            return {}, 0.0, not isinstance(error, Superseded)
        return self._adapter.estimates(t, faces, outputs), waited, False

    def _estimate_later(self, submit: Submit, t: float, faces: list[Face]) -> tuple[dict[int, Estimate], float, bool]:
        """Read the answers that have come, then send the next request; returns as `_estimate` does."""
        estimates: dict[int, Estimate] = {}
        waited, failed = 0.0, False
        while self._awaited and self._awaited[0].pending.done():
            request = self._awaited.popleft()
            try:
                outputs = request.pending.result()
            except EngineError as error:
                self._adapter.unanswered()
                failed |= not isinstance(error, Superseded)
                continue
            waited = request.pending.waited
            estimates |= self._adapter.estimates(request.t, request.faces, outputs)
        inputs = self._adapter.inputs(t, faces, self._mel) if faces else None
        if inputs is not None:
            self._awaited.append(_Awaited(t, faces, submit(inputs)))
        return estimates, waited, failed

    def _change_size(self, size: Size) -> None:
        """Convert what is remembered of faces to the new picture's pixels; forget it if its proportions differ."""
        if self._size is not None and size != self._size:
            scale = scale_between(self._size, size)
            if scale is None:
                self._aggregator.forget()
            else:
                self._aggregator.scale(scale)
        self._size = size

    def _stale(self) -> list[str]:
        return ["stale"] if self._state in (State.STALLED, State.RECONNECTING, State.FAILED) else []

    def _note(self, **note: Mapping[str, Any]) -> Event:
        return self._event(self._t, self._speech.status(self._t), faces=[], reasons=self._stale(), **note)

    def _event(
        self, t: float, heard: AudioStatus, *, faces: list[dict[str, Any]], reasons: list[str], **more: Any
    ) -> Event:
        self._t = t
        self._seq += 1
        audio: dict[str, Any] = {"status": heard.status, "age_ms": heard.age_ms, "level_db": heard.level_db}
        if self._fusion is not None:
            audio["voice"] = self._fusion.entry(t)
        landmarks = more.pop("landmarks", {})
        data = {
            "schema": SCHEMA,
            "session": self.name,
            "incarnation": self.incarnation,
            "seq": self._seq,
            "state": self._state.value,
            "reasons": reasons,
            "t": round(t, 3),
            "captured_at": None,
            "timing_ms": None,
            "model": {**self._model(), "missing": self._missing} if self._missing else self._model(),
            "image_size": None,
            "audio": audio,
            "faces": faces,
        }
        if self.purpose is not None:
            data["purpose"] = self.purpose
        data.update((key, value) for key, value in more.items() if value is not None)
        return Event.of(data, landmarks)
