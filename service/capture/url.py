"""Addresses: RTSP and HTTP, live or recorded, through PyAV; live ones that are lost are reconnected for ever."""

import errno
import logging
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import urlsplit

import av

from models.errors import UserError
from service import metrics
from service.capture.backoff import Backoff
from service.capture.clock import SessionClock
from service.capture.cushion import Cushion
from service.capture.decode import NoKeyFrame, Picture, decode, without_leaps
from service.capture.file import ending, play, trouble
from service.capture.media import SAMPLE_RATE, Frame, Item, Sound, State, StateChange
from service.capture.pace import Pace
from service.capture.source import Check, Timeouts
from service.capture.streams import Media, choose_streams, words
from service.capture.watch import watched
from service.redact import redact

log = logging.getLogger(__name__)

# Containers without time stamps, for which FFmpeg invents 25 frames/s: the moment of arrival is the better clock.
_STAMPLESS = frozenset({"mpjpeg", "mjpeg", "h264", "hevc", "m4v"})
# Containers whose first answer is only a list: its length says nothing about the length of the film.
_PLAYLISTS = frozenset({"hls", "dash", "applehttp"})
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
# make it open ports on it that the user did not allow. HTTP goes through the proxy of the environment, and playlists
# may be encrypted.
_RTSP_PROTOCOLS = "rtsp,rtsps,rtp,tcp,tls"
_HTTP_PROTOCOLS = "http,https,httpproxy,tcp,tls,crypto,data"
_PROBE = 1_500_000  # microseconds of stream that FFmpeg may study before it tells what is in it
# UDP loses packets in every wireless network, and firewalls drop it; a lost packet is a damaged face. So TCP comes
# first, and UDP only where the camera refuses TCP (status 461) or the user asked for it.
_TRANSPORTS = {
    "auto": {"rtsp_transport": "udp+tcp", "rtsp_flags": "prefer_tcp"},
    "tcp": {"rtsp_transport": "tcp"},
    "udp": {"rtsp_transport": "udp"},
}
_KEY_FRAME_AFTER = 2.0  # seconds of packets without a key frame after which the state says so
_FASTER = 3.0  # times real time: what is delivered so fast and then ends is a recording, whatever its header says

_T = TypeVar("_T")


class UrlSource:
    """Read a stream or recording at an address."""

    def __init__(
        self,
        url: str,
        *,
        realtime: bool,
        timeouts: Timeouts,
        label: str | None = None,
        rotate: int = 0,
        transport: str = "auto",
        check: Check | None = None,
    ) -> None:
        """Contact nobody yet. `realtime` is for recordings; live streams have a pace of their own.

        `label`: the address as the user wrote it, where it had options of ours; `rotate`: degrees clockwise;
        `transport` of RTSP: "auto", "tcp" or "udp"; `check` raises `UserError` for an address that redirects and
        playlists may not lead to.
        """
        self.label = redact(label or url)
        self.treatment: tuple[str, ...] = ()  # what was done to the pictures, once they were read
        self._url = url
        self._realtime = realtime
        self._timeouts = timeouts
        self._rotate = rotate
        self._transport = transport
        self._check = check
        self._size: int | None = None  # bytes, where FFmpeg does not know them because the answer comes through Python
        self._rtsp = url.lower().startswith("rtsp")
        self._format: str | None = None  # what the answer is taken for; None: what it looks like

    def read(self, stop: threading.Event) -> Iterator[Item]:
        """Yield items for as long as the address lives; see `Source.read`."""
        return watched(self._produce, stop, self._timeouts.stall, self.label)

    def _produce(self, give: Callable[[Item], bool], gone: threading.Event) -> None:
        """Connect, play, and connect again, until there is nothing more to come or `gone` is set."""
        clock, backoff, began = SessionClock(), Backoff(), time.monotonic()
        contact = _Contact()
        give(StateChange(State.CONNECTING, f"Connecting to {self.label}"))
        while not gone.is_set():
            contact.since, tried = None, time.monotonic()
            try:
                reason = self._play(give, gone, clock, began, contact)
            except UserError as error:
                give(StateChange(State.FAILED, f"{self.label} {error}"))
                return
            except av.error.FFmpegError as error:
                reason = self._reason(error, time.monotonic() - tried, contact.since is not None)
                if not contact.ever and (
                    isinstance(error, _HOPELESS) or (isinstance(error, av.error.InvalidDataError) and not self._rtsp)
                ):
                    give(StateChange(State.FAILED, f"{self.label} cannot be opened: {reason}"))
                    return
            if reason is None:
                return
            if contact.since is not None:
                backoff.lasted(time.monotonic() - contact.since)
            if contact.ever:
                metrics.RECONNECTS.labels("source").inc()
            wait = backoff.next()
            log.info("source %s: %s; trying again in %.1f s", self.label, reason, wait)
            # One outage is one change of state, whatever its further attempts run into; those are in the log.
            if not contact.told or (not contact.ever and reason != contact.told):
                contact.told = reason
                state = State.RECONNECTING if contact.ever else State.CONNECTING
                give(StateChange(state, f"{self.label}: {reason}; trying again"))
            gone.wait(wait)

    def _play(
        self,
        give: Callable[[Item], bool],
        gone: threading.Event,
        clock: SessionClock,
        began: float,
        contact: "_Contact",
    ) -> str | None:
        """Connect once and give what comes; return why it ended, or None if nothing more is to come.

        Raise `UserError` or `av.error.FFmpegError` if the address cannot be opened or the connection breaks.
        """
        with self._open() as container:
            media = choose_streams(container, self._rotate)
            recorded = self._recorded(media)
            if recorded:
                clock.begin(clock.end, media.start)
            else:
                clock.begin(time.monotonic() - began)
            delivery, clean = _Delivery(), True
            announced: tuple[object, ...] | None = None
            try:
                for item in self._items(media, clock, began, gone, delivery):
                    if contact.since is None and not isinstance(item, StateChange):
                        contact.begin()
                    if not isinstance(item, StateChange) and media.version != announced:
                        announced, self.treatment = media.version, media.treatment
                        give(StateChange(State.LIVE, media.description))
                    if not give(item):
                        return None
            except av.error.FFmpegError:
                clean = False
                if contact.since is None or not self._is_over(media, clock, delivery, clean):
                    raise
            if gone.is_set():
                return None
            if contact.since is not None and (recorded or self._is_over(media, clock, delivery, clean)):
                give(StateChange(State.ENDED, ending(media, clock)))
                return None
            if recorded:
                give(StateChange(State.FAILED, f"Nothing at {self.label} can be decoded: {_undecodable(media)}"))
                return None
        return "the stream ended" if contact.since is not None else "nothing came that can be decoded"

    def _open(self) -> av.container.InputContainer:
        if self._rtsp:
            udp = ",udp" if self._transport != "tcp" else ""
            options = {**_TRANSPORTS[self._transport], "protocol_whitelist": _RTSP_PROTOCOLS + udp}
            options["fpsprobesize"] = "0"  # no frames are waited for to measure their rate: live 0.8 s earlier
            if self._check is None:
                return self._connect(options)
            from service.capture.checked_rtsp import open_following

            return open_following(
                self._url, self._check, self._timeouts.open, lambda address: self._connect(options, address=address)
            )
        options = {"reconnect": "1", "reconnect_delay_max": "2", "protocol_whitelist": _HTTP_PROTOCOLS}
        # FFmpeg 8 takes a connection for open that it asked to be closed, unless the server repeats "close", and loses
        # the first pictures where it goes to the index at the end of an MP4 and back. So it does not ask for that.
        options["multiple_requests"] = "1"
        try:
            return self._connect(options)
        except av.error.InvalidDataError:
            # Some cameras leave out the boundary before their first JPEG picture; the pictures can be found without.
            if self._format is not None:
                raise
            container = self._connect(options, "mjpeg")
            if container.streams.video and container.streams.video[0].codec_context.width:
                self._format = "mjpeg"
                return container
            container.close()
            raise

    def _connect(
        self, options: dict[str, str], format: str | None = None, address: str | None = None
    ) -> av.container.InputContainer:
        checked: dict[str, Any] = {}
        http = None
        if self._check is not None and not self._rtsp:
            from service.capture.checked_http import CheckedHttp

            # FFmpeg's own way of keeping connections open would ask a server without us.
            options = {**options, "http_persistent": "0", "http_multiple": "0"}
            checked["io_open"] = http = CheckedHttp(self._check, self._timeouts)
        container: av.container.InputContainer = av.open(
            address or self._url,
            format=format or self._format,
            options={**options, "analyzeduration": str(_PROBE)},
            timeout=(self._timeouts.open, self._timeouts.read),
            metadata_errors="replace",
            **checked,
        )
        self._size = None
        if http is not None:
            http.opened()
            self._size = http.size
        return container

    def _recorded(self, media: Media) -> bool:
        """Return whether this is a recording over HTTP, to be played like a file: its length or its size is known."""
        if self._rtsp:
            return False
        name = media.container.format.name
        return media.end is not None or (
            name not in _STAMPLESS | _PLAYLISTS and (self._size or media.container.size) > 0
        )

    def _in_bursts(self, media: Media) -> bool:
        """Return whether this is a live stream that may come in bursts and has time stamps to spread them by."""
        return self._realtime and not self._rtsp and media.container.format.name not in _STAMPLESS

    def _is_over(self, media: Media, clock: SessionClock, delivery: "_Delivery", clean: bool) -> bool:
        """Return whether a stream of unknown length that came to its end is over for good.

        A playlist ends where its server says so, which is a `clean` end. Anything else was a recording if it was
        delivered much faster than it plays; a camera that hangs up was not. Without a length the end of an answer
        cannot be distinguished from a broken connection, so `clean` does not matter then.
        """
        name = media.container.format.name
        if self._rtsp or name in _STAMPLESS:
            return False
        return clean if name in _PLAYLISTS else clock.run > _FASTER * delivery.seconds + 1.0

    def _items(
        self, media: Media, clock: SessionClock, began: float, gone: threading.Event, delivery: "_Delivery"
    ) -> Iterator[Item]:
        if self._recorded(media):
            yield from play(media, clock, Pace(self._realtime), gone)
            return
        stampless = media.container.format.name in _STAMPLESS
        cushion = Cushion() if self._in_bursts(media) else None
        connected, waiting_said, came = time.monotonic(), False, False
        items = delivery.timed(decode(media, live=True))
        for item in items if cushion is None else without_leaps(items):
            now = time.monotonic()
            elapsed = now - began
            # What is held back by the clock does not tell the clock when it would have arrived.
            arrival = elapsed if cushion is None else None
            if isinstance(item, NoKeyFrame):
                if not waiting_said and now - connected > _KEY_FRAME_AFTER:
                    waiting_said = True
                    state = State.LIVE if came else State.CONNECTING
                    yield StateChange(state, f"{self.label}: packets come, but no key frame yet; waiting for one")
                continue
            came = True
            seconds = elapsed if stampless else item.seconds
            if isinstance(item, Picture):
                t = clock.picture(seconds, item.period, arrival)
            else:
                t = clock.sound(seconds, len(item.samples) / SAMPLE_RATE, arrival)
            paces = isinstance(item, Picture) or media.video is None
            if cushion is not None and paces and not cushion.wait(t, began, gone):
                return
            if isinstance(item, Picture):
                entered, captured_at = time.perf_counter(), time.time()
                yield Frame(media.convert(item.frame), t, entered, captured_at)
            else:
                yield Sound(item.samples, t)

    def _reason(self, error: av.error.FFmpegError, tried: float, opened: bool) -> str:
        """Return `error` in words, `tried` seconds after connecting began; FFmpeg calls some time-outs invalid data."""
        if opened:
            if error.errno == errno.EIO:
                return "the connection broke"
            return f"silence for {self._timeouts.read:g} s" if isinstance(error, av.error.ExitError) else words(error)
        if isinstance(error, av.error.ExitError) or tried >= self._timeouts.open:
            return f"no answer within {self._timeouts.open:g} s"
        if error.errno == errno.EIO and not self._known():
            return f"the host {urlsplit(self._url).hostname} is not known here; check its name and the network"
        if error.errno == errno.EIO or (self._rtsp and isinstance(error, av.error.InvalidDataError)):
            how = "speaks no RTSP, or ends the connection" if self._rtsp else "ends the connection"
            return f"what answers there {how}; check the port and the path of the address"
        return words(error)

    def _known(self) -> bool:
        """Return whether the host has an address; where it has none, FFmpeg says "Input/output error"."""
        try:
            return bool(socket.getaddrinfo(urlsplit(self._url).hostname, None))
        except OSError:
            return False


@dataclass(slots=True)
class _Contact:
    """Remember what an address gave over all attempts to reach it.

    Attributes:
        ever: Whether it ever gave a picture or sound.
        since: When the present connection gave its first one (s, monotonic); None before that.
        told: Why the present outage began, as its change of state says; "" without an outage.
    """

    ever: bool = False
    since: float | None = None
    told: str = ""

    def begin(self) -> None:
        """Note that the present connection gives pictures or sound, which ends an outage."""
        self.ever, self.since, self.told = True, time.monotonic(), ""


class _Delivery:
    """Add up the seconds spent waiting for the network and the decoder."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def timed(self, items: Iterator[_T]) -> Iterator[_T]:
        """Yield `items`, timing how long each takes to come."""
        while True:
            began = time.monotonic()
            item = next(items, None)
            self.seconds += time.monotonic() - began
            if item is None:
                return
            yield item


def _undecodable(media: Media) -> str:
    reason = trouble(media)
    if media.container.format.name.startswith("mov"):
        reason += (
            "; if its index is at its end, the server must answer requests for ranges, or the file be written again "
            "with its index in front (ffmpeg -i IN -c copy -movflags faststart OUT)"
        )
    return reason
