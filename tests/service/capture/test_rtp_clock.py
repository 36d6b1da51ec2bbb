"""Sound and picture of a peer on one clock."""

import asyncio
from types import SimpleNamespace

import pytest
from aiortc.rtp import RtcpSenderInfo, RtcpSrPacket
from hypothesis import given
from hypothesis import strategies as st

from service.capture.aiortc_internals import NTP_UNITS, RTP_WRAP, on_sender_report
from service.capture.clock import AHEAD
from service.capture.rtp_clock import SYNC_TOLERANCE, PeerClock, TrackClock

seconds = st.floats(0, 1e5)
delays = st.floats(0, 1.0)


@given(origin=seconds, start=seconds, delays=st.lists(delays, min_size=1, max_size=50))
def test_jitter_of_arrival_does_not_shake_the_times(origin: float, start: float, delays: list[float]) -> None:
    clock = TrackClock()
    times = [clock.place(origin + n / 30, start + n / 30 + delay) for n, delay in enumerate(delays)]
    assert times == pytest.approx([start + delays[0] + n / 30 for n in range(len(delays))], abs=1e-6)


@given(jump=st.floats(AHEAD + 2, 1e6) | st.floats(-1e6, -AHEAD - 2))
def test_a_new_timestamp_origin_is_placed_by_arrival(jump: float) -> None:
    clock = TrackClock()
    clock.place(100.0, 1.0)
    assert clock.place(100.0 + jump, 2.0) == pytest.approx(2.0, abs=1e-6)


def test_a_burst_after_a_long_gap_keeps_its_own_times() -> None:
    clock = TrackClock()
    clock.place(0.0, 1.0)
    assert clock.place(0.1, 9.0) == pytest.approx(1.1)


@given(audio_late=st.floats(-1.5, 1.5), video_origin=seconds, audio_origin=seconds, wall=st.floats(3.9e9, 4.0e9))
def test_reports_put_sound_where_it_was_captured(
    audio_late: float, video_origin: float, audio_origin: float, wall: float
) -> None:
    clock = PeerClock()
    picture = clock.place("video", video_origin, 5.0)
    clock.place("audio", audio_origin, 5.0 + audio_late)  # captured with that picture, arrived later or earlier
    clock.report("video", wall, video_origin)
    clock.report("audio", wall, audio_origin)
    placed = clock.place("audio", audio_origin + 1, 6.0 + audio_late)
    assert placed == pytest.approx(picture + 1, abs=SYNC_TOLERANCE + 1e-5)
    assert clock.place("video", video_origin + 1, 6.0) == pytest.approx(picture + 1)


def test_reports_that_contradict_arrival_are_not_believed() -> None:
    clock = PeerClock()
    clock.place("video", 0.0, 5.0)
    clock.place("audio", 0.0, 5.0)
    clock.report("video", 4e9, 0.0)
    clock.report("audio", 4e9 + 60, 0.0)
    assert clock.place("audio", 1.0, 6.0) == pytest.approx(6.0)


@given(origin=st.integers(0, RTP_WRAP - 1), newest=st.integers(0, 2**33), ahead=st.integers(-(2**20), 2**20))
def test_a_report_is_read_across_the_wrap_of_its_timestamp(origin: int, newest: int, ahead: int) -> None:
    heard: list[tuple[float, float]] = []
    handled: list[RtcpSrPacket] = []

    async def handle(packet: RtcpSrPacket) -> None:
        handled.append(packet)

    mapper = SimpleNamespace(
        _origin=origin - (origin + newest) // RTP_WRAP * RTP_WRAP, _last=(origin + newest) % RTP_WRAP
    )
    receiver = SimpleNamespace(
        track=SimpleNamespace(kind="video"), _RTCRtpReceiver__timestamp_mapper=mapper, _handle_rtcp_packet=handle
    )
    on_sender_report(receiver, lambda wall, media: heard.append((wall, media)))
    info = RtcpSenderInfo(7 * NTP_UNITS, (origin + newest + ahead) % RTP_WRAP, 0, 0)
    asyncio.run(receiver._handle_rtcp_packet(RtcpSrPacket(ssrc=1, sender_info=info)))
    assert heard == [(7.0, pytest.approx((newest + ahead) / 90_000))]
    assert len(handled) == 1


def test_a_track_whose_clock_is_off_follows_arrival() -> None:
    clock = TrackClock()
    times = [clock.place(n / 30 * 1.002, n / 30) for n in range(30 * 600)]
    assert max(abs(t - n / 30) for n, t in enumerate(times)) < 0.1


@pytest.mark.parametrize("wrong", [3.0, -3.0, 1e5])
def test_one_timestamp_out_of_line_moves_nothing_for_good(wrong: float) -> None:
    clock = TrackClock()
    times = [clock.place(n / 30 + (wrong if n == 50 else 0.0), n / 30) for n in range(100)]
    assert times == pytest.approx([n / 30 for n in range(100)], abs=1e-6)


def test_a_decoder_that_was_late_and_skips_to_the_newest_picture_did_not_leap() -> None:
    clock = TrackClock()
    media = [n / 30 for n in range(60)]
    for t in media:
        clock.place(t, t)
    for n in range(60):  # falls behind by two seconds
        clock.place(2 + n / 30, 2 + n / 15)
    assert clock.place(6.0, 6.05) == pytest.approx(6.0)
