"""Interlaced pictures to whole ones.

The two fields of such a picture are of two moments; woven into one they show a comb on all that moves.
"""

from collections.abc import Iterator
from fractions import Fraction

import av
from av.filter import Graph
from av.video.frame import VideoFrame

_PUSHED_TOO_EARLY = (av.error.BlockingIOError, av.error.EOFError)  # the filter has no picture to give yet, or no more


class Deinterlacer:
    """Run FFmpeg's bwdif filter over a stream from its first picture that is marked as interlaced.

    One picture comes out for each that goes in, one picture late, because the filter looks at the following one.
    Pictures that are not marked pass unchanged. Streams without interlaced pictures are never delayed.
    """

    def __init__(self) -> None:
        self.active = False  # whether a picture of this stream was interlaced
        self._graph: Graph | None = None
        self._form: tuple[int, int, str, Fraction | None] | None = None

    def push(self, frame: VideoFrame) -> Iterator[VideoFrame]:
        """Yield the pictures that `frame` makes ready."""
        if not self.active and not frame.interlaced_frame:
            yield frame
            return
        self.active = True
        form = (frame.width, frame.height, frame.format.name, frame.time_base)
        if form != self._form:
            yield from self.flush()
            self._graph, self._form = _graph(frame), form
        assert self._graph is not None
        self._graph.push(frame)
        yield from self._ready()

    def flush(self) -> Iterator[VideoFrame]:
        """Yield the picture that was still held back; the next `push` begins anew."""
        if self._graph is not None:
            self._graph.vpush(None)
            yield from self._ready()
        self._graph, self._form = None, None

    def _ready(self) -> Iterator[VideoFrame]:
        assert self._graph is not None
        while True:
            try:
                yield self._graph.vpull()
            except _PUSHED_TOO_EARLY:
                return


def _graph(frame: VideoFrame) -> Graph:
    graph = Graph()
    graph.threads = 1
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 90_000)
    )
    bwdif = graph.add("bwdif", "mode=send_frame:parity=auto:deint=interlaced")
    sink = graph.add("buffersink")
    source.link_to(bwdif)
    bwdif.link_to(sink)
    graph.configure()
    return graph
