"""Addresses: RTSP over TCP and HTTP, live or recorded, through PyAV; lost ones are reconnected for ever."""

import logging
import threading
import time
from collections.abc import Callable, Iterator

import av

from service import metrics
from service.capture.backoff import Backoff
from service.capture.clock import SessionClock
from service.capture.decode import Media, Picture, PictureConverter, choose_streams, decode
from service.capture.file import ending, play
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.pace import Pace
from service.capture.timeouts import Timeouts
from service.capture.watch import watched
from service.redact import redact, redact_text

log = logging.getLogger(__name__)

# Containers without time stamps, for which FFmpeg invents 25 frames/s: the moment of arrival is the better clock.
_STAMPLESS = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v"})
# What trying again does not mend, as long as the address never worked; afterwards everything is tried again.
_HOPELESS = (
    av.error.HTTPBadRequestError,
    av.error.HTTPUnauthorizedError,
    av.error.HTTPForbiddenError,
    av.error.HTTPNotFoundError,
    av.error.ProtocolNotFoundError,
    av.error.DemuxerNotFoundError,
    av.error.OptionNotFoundError,
    av.error.PermissionError,  # a protocol that is not allowed
)
# What FFmpeg may use on the way: whoever answers at an allowed address must not lead it to files of this machine, or
# make it open ports on it. HTTP goes through the proxy of the environment, and playlists may be encrypted.
_RTSP_PROTOCOLS = "rtsp,rtsps,rtp,tcp,tls"
_HTTP_PROTOCOLS = "http,https,httpproxy,tcp,tls,crypto,data"
_PROBE = 1_500_000  # microseconds of stream that FFmpeg may study before it tells what is in it


class UrlSource:
    """A stream or recording at an address."""

    def __init__(self, url: str, *, realtime: bool, timeouts: Timeouts) -> None:
        """Contacts nobody yet. `realtime` is for recordings; live streams have a pace of their own."""
        self.label = redact(url)
        self._url = url
        self._realtime = realtime
        self._timeouts = timeouts
        self._rtsp = url.lower().startswith("rtsp")

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Items for as long as the address lives; see `Source.read`."""
        return watched(self._produce, stop, self._timeouts.stall, self.label)

    def _produce(self, give: Callable[[Item], bool], gone: threading.Event) -> None:
        """Connects, plays, and connects again, until there is nothing more to come or nobody wants it."""
        clock, backoff, began = SessionClock(), Backoff(), time.monotonic()
        ever_live, said = False, ""
        give(StateChange(State.CONNECTING, f"Connecting to {self.label}"))
        while not gone.is_set():
            opened, tried = None, time.monotonic()
            try:
                with self._open() as container:
                    media = choose_streams(container)
                    if media is None:
                        give(StateChange(State.FAILED, f"{self.label} holds neither pictures nor sound"))
                        return
                    if self._recorded(media):
                        clock.begin(clock.end, media.start)
                    else:
                        clock.begin(time.monotonic() - began)
                    for item in self._items(media, clock, began, gone):
                        if opened is None:
                            opened, ever_live, said = time.monotonic(), True, ""
                            give(StateChange(State.LIVE, media.description))
                        if not give(item):
                            return
                    if gone.is_set():
                        return
                    if self._recorded(media) and opened is not None:
                        give(StateChange(State.ENDED, ending(media, clock)))
                        return
                reason = "the stream ended" if opened is not None else "nothing came that can be decoded"
            except av.error.FFmpegError as error:
                reason = self._reason(error, time.monotonic() - tried, opened is not None)
                if not ever_live and (
                    isinstance(error, _HOPELESS) or (isinstance(error, av.error.InvalidDataError) and not self._rtsp)
                ):
                    give(StateChange(State.FAILED, f"{self.label} cannot be opened: {reason}"))
                    return
            if opened is not None:
                backoff.lasted(time.monotonic() - opened)
            if ever_live:
                metrics.RECONNECTS.labels("source").inc()
            wait = backoff.next()
            log.info("source %s: %s; trying again in %.1f s", self.label, reason, wait)
            # One outage is one change of state, whatever its further attempts run into; those are in the log.
            if not said or (not ever_live and reason != said):
                said = reason
                state = State.RECONNECTING if ever_live else State.CONNECTING
                give(StateChange(state, f"{self.label}: {reason}; trying again"))
            gone.wait(wait)

    def _open(self) -> av.container.InputContainer:
        if self._rtsp:
            # UDP loses packets in every wireless network, and firewalls drop it; a lost packet is a damaged face.
            options = {"rtsp_transport": "tcp"}
            options["protocol_whitelist"] = _RTSP_PROTOCOLS
            options["fpsprobesize"] = "0"  # no frames are waited for to measure their rate: live 0.8 s earlier
        else:
            options = {"reconnect": "1", "reconnect_delay_max": "2", "protocol_whitelist": _HTTP_PROTOCOLS}
        options["analyzeduration"] = str(_PROBE)
        return av.open(
            self._url,
            options=options,
            timeout=(self._timeouts.open, self._timeouts.read),
            metadata_errors="replace",
        )

    def _recorded(self, media: Media) -> bool:
        """Whether this is a recording over HTTP, with an end, to be played like a file."""
        return not self._rtsp and media.end is not None

    def _items(self, media: Media, clock: SessionClock, began: float, gone: threading.Event) -> Iterator[Frame | Sound]:
        if self._recorded(media):
            yield from play(media, clock, Pace(self._realtime), gone)
            return
        convert = PictureConverter()
        stampless = media.container.format.name in _STAMPLESS
        for item in decode(media):
            elapsed = time.monotonic() - began
            entered, captured_at = time.perf_counter(), time.time()
            seconds = elapsed if stampless else item.seconds
            if isinstance(item, Picture):
                t = clock.picture(seconds, item.period, elapsed)
                yield Frame(convert(item.frame), t, entered, captured_at)
            else:
                t = clock.sound(seconds, len(item.samples) / SAMPLE_RATE, elapsed)
                yield Sound(item.samples, t)

    def _reason(self, error: av.error.FFmpegError, tried: float, opened: bool) -> str:
        """`error` in words, `tried` seconds after connecting began; FFmpeg calls some time-outs invalid data."""
        if opened:
            silent = isinstance(error, av.error.ExitError)
            return f"silence for {self._timeouts.read:g} s" if silent else redact_text(error.strerror or str(error))
        if isinstance(error, av.error.ExitError) or tried >= self._timeouts.open:
            return f"no answer within {self._timeouts.open:g} s"
        return redact_text(error.strerror or str(error))
