"""Secrets never leave an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.redact import redact, redact_text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://:hunter2@cache:6379/0", "redis://***@cache:6379/0"),
        ("rtsp://me:hunter2@10.0.0.5:554/live?profile=1", "rtsp://***@10.0.0.5:554/live?profile=1"),
        ("rtsp://me:hun/ter?2@host/live", "rtsp://***@host/live"),
        ("rtsp://me:hun@ter2@host/live", "rtsp://***@host/live"),
        ("https://host/live.m3u8?a=1&token=hunter2&b=2", "https://host/live.m3u8?a=1&token=***&b=2"),
        ("https://host/x?API_KEY=hunter2#t=3", "https://host/x?API_KEY=***#t=3"),
        ("http://host:8080/clip.mp4", "http://host:8080/clip.mp4"),
        ("http://host/@someone/live", "http://host/@someone/live"),
        ("file:/home/a@b/clip.mp4", "file:/home/a@b/clip.mp4"),
        ("demo:", "demo:"),
    ],
)
def test_addresses_lose_their_secrets_and_nothing_else(address: str, shown: str) -> None:
    assert redact(address) == shown


@given(st.text(st.characters(exclude_categories=["Z", "C"]), min_size=1))
def test_no_password_survives(password: str) -> None:
    shown = redact(f"rtsp://user:{password}@host.example/live")
    assert shown == "rtsp://***@host.example/live"


def test_addresses_within_a_sentence_are_found() -> None:
    assert redact_text("cannot open 'rtsp://u:hunter2@h/x' or redis://:p@r") == (
        "cannot open 'rtsp://***@h/x' or redis://***@r"
    )
