"""The buffer between the capture thread and the session thread: it holds one frame, never blocks and counts losses."""

import threading
import time
from collections import deque
from dataclasses import dataclass

from service import metrics
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, StateChange
from service.capture.ring import SampleRing

_CONTIGUOUS = 1.5 / SAMPLE_RATE  # seconds: chunks that follow each other within this are one run of sound


@dataclass(frozen=True, slots=True)
class Arrival:
    """Hold what came since the last `take`: apply `states`, then `sounds`, then `frame`."""

    frame: Frame | None
    sounds: tuple[Sound, ...]  # those that arrived before the frame, in order, consecutive chunks joined
    states: tuple[StateChange, ...]  # likewise


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Hold the place of a chunk of sound in the ring."""

    start: int  # samples
    count: int
    t: float  # seconds on the session clock


class Inbox:
    """Keep the newest frame, the last `sound_seconds` of sound in order, and every state change.

    `put` is called by the capture thread and never waits; `take` by the session thread.
    """

    def __init__(self, sound_seconds: float = 10.0) -> None:
        self._ring = SampleRing(sound_seconds)
        self._frame: Frame | None = None
        self._before: deque[_Chunk | StateChange] = deque()  # arrived before the waiting frame
        self._after: deque[_Chunk | StateChange] = deque()  # arrived after it
        self._changed = threading.Condition()
        self.dropped_frames = 0
        self.dropped_samples = 0

    def put(self, item: Item) -> None:
        """Add `item`; a frame that was not taken yet is replaced by a newer one, and counted as dropped."""
        with self._changed:
            if isinstance(item, Frame):
                if self._frame is not None:
                    self.dropped_frames += 1
                    metrics.FRAMES_DROPPED.labels("newest_wins").inc()
                self._frame = item
                self._before.extend(self._after)
                self._after.clear()
            elif isinstance(item, Sound):
                late = self._before if self._frame is None else self._after
                late.append(_Chunk(self._ring.write(item.samples), len(item.samples), item.t))
                self._forget_overwritten()
                return  # sound waits for a frame or for the taker's time-out: nobody needs to wake up for each chunk
            else:
                (self._before if self._frame is None else self._after).append(item)
            self._changed.notify()

    def wait(self, timeout: float) -> None:
        """Wait for a frame or a state change, `timeout` seconds at most."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while self._frame is None and not any(isinstance(item, StateChange) for item in self._before):
                left = deadline - time.monotonic()
                if left <= 0 or not self._changed.wait(left):
                    break

    def take(self, timeout: float) -> Arrival:
        """Wait for a frame or a state change, `timeout` seconds at most, and return all that arrived up to it.

        At the time-out, what sound there is comes without a frame; the arrival may be empty.
        """
        self.wait(timeout)
        with self._changed:
            frame, taken = self._frame, self._before
            self._frame, self._before, self._after = None, self._after, deque()
            chunks = [item for item in taken if isinstance(item, _Chunk)]
            sounds = tuple(self._joined(chunks))
        return Arrival(frame, sounds, tuple(item for item in taken if isinstance(item, StateChange)))

    def _joined(self, chunks: list[_Chunk]) -> list[Sound]:
        """Return the chunks' samples, one `Sound` for each uninterrupted run."""
        sounds: list[Sound] = []
        run: list[_Chunk] = []
        for chunk in chunks:
            if run and abs(run[-1].t + run[-1].count / SAMPLE_RATE - chunk.t) > _CONTIGUOUS:
                sounds.append(self._sound(run))
                run = []
            run.append(chunk)
        if run:
            sounds.append(self._sound(run))
        return sounds

    def _sound(self, run: list[_Chunk]) -> Sound:
        return Sound(self._ring.read(run[0].start, run[-1].start + run[-1].count), run[0].t)

    def _forget_overwritten(self) -> None:
        """Count and remove the chunks that the ring overwrote, also where only a part was overwritten."""
        for waiting in (self._before, self._after):
            lost = [item for item in waiting if isinstance(item, _Chunk) and item.start < self._ring.start]
            for chunk in lost:
                waiting.remove(chunk)
                self.dropped_samples += chunk.count
                metrics.FRAMES_DROPPED.labels("sound_overflow").inc()
