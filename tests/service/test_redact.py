"""Secrets never leave an address."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.errors import UserError
from service.capture.open import open_source
from service.redact import check_address, redact, redact_text


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("redis://:hunter2@cache:6379/0", "redis://***@cache:6379/0"),
        ("rtsp://me:hunter2@10.0.0.5:554/live?profile=1", "rtsp://***@10.0.0.5:554/live?profile=***"),
        ("rtsp://me:hun/ter?2@host/live", "rtsp://***"),
        ("rtsp://me:hun@ter2@host/live", "rtsp://***"),
        ("rtsp://admin:123/456@host/live", "rtsp://***"),
        ("rtsp:/me:hunter2@host/live", "rtsp://***"),
        ("rtsp://me:hun ter2@host/live", "rtsp://***"),
        ("https://host/live.m3u8?a=1&token=hunter2&b=2", "https://host/live.m3u8?a=***&token=***&b=***"),
        ("https://host/x?usr=me&pw=hunter2#t=3", "https://host/x?usr=***&pw=***#***"),
        ("rtsp://host/user=me_password=hunter2_channel=1_stream=0.sdp", "rtsp://host/***"),
        ("https://host/live/x8Gh2kQ0/index.m3u8", "https://host/live/***/index.m3u8"),
        ("http://host:8080/clip.mp4", "http://host:8080/clip.mp4"),
        ("rtsp://host/Streaming/Channels/101", "rtsp://host/Streaming/Channels/101"),
        ("http://host/@someone/live", "http://host/***/live"),
        ("file:/home/a@b/clip.mp4", "file:/home/a@b/clip.mp4"),
        ("demo:", "demo:"),
        ("one=rtsp://me:hunter2@host/live", "one=rtsp://***@host/live"),
        ("no name=http:/me:hunter2@host", "no name=http://***"),
        ("clips/one=two.mp4", "clips/one=two.mp4"),
    ],
)
def test_addresses_lose_their_secrets_and_nothing_else(address: str, shown: str) -> None:
    assert redact(address) == shown


@given(st.text(min_size=1))
def test_a_password_is_masked_or_the_whole_address(password: str) -> None:
    assert redact(f"rtsp://user:{password}@host.example/live") in ("rtsp://***@host.example/live", "rtsp://***")


SECRET = st.text(st.characters(codec="utf-8"), min_size=6).map(lambda text: f"<{text}>") | st.text(
    "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/?#@:&=%;,.'\"\\ \t<>[]{}|^`~+-_", min_size=6
).map(lambda text: f"qZ7{text}Zq9")
ADDRESSES = st.sampled_from(
    [
        "{scheme}://user:{secret}@host.example:554/live",
        "{scheme}://{secret}@host.example/live",
        "{scheme}://{secret}:pw@host.example/live",
        "{scheme}:/user:{secret}@host.example/live",
        "{scheme}:user:{secret}@host.example",
        "{scheme}://host.example/live?usr=me&pw={secret}&x=1",
        "{scheme}://host.example/user=admin_password={secret}_channel=1_stream=0.sdp",
        "{scheme}://host.example:80/{secret}/live.m3u8",
        "{scheme}://host.example/live#{secret}",
        "{scheme}://admin:123/{secret}@host.example/live",
        "{scheme}://:{secret}@host.example/0",
    ]
)


@given(ADDRESSES, st.sampled_from(["rtsp", "rtsps", "http", "https", "redis", "rediss"]), SECRET)
def test_no_part_of_a_secret_is_shown(form: str, scheme: str, secret: str) -> None:
    address = form.format(scheme=scheme, secret=secret)
    for shown in (redact(address), refusal(address)):
        assert secret not in shown
        assert "Zq9" not in shown
        assert "qZ7" not in shown


def refusal(address: str) -> str:
    """What `check_address` and `open_source` say about `address`, empty where they take it."""
    said = ""
    for check in (check_address, open_source):
        try:
            check(address)
        except UserError as error:
            said += str(error)
    return said


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:123/456@camera/live",
        "rtsp://admin:pa ss@camera/live",
        "rtsp://admin:pa/ss@camera/live",
        "rtsp://admin:pa#ss@camera/live",
        "rtsp://admin:pa?ss@camera/live",
        "rtsp://admin:p@ss@camera/live",
        "rtsp://admin:p@ss/word@camera/live",
        'rtsp://admin:pa"ss@camera/live',
        "rtsp://admin:pa\tss@camera/live",
        "rtsp://admin:50%@camera/live",
        "rtsp:/admin:pass@camera/live",
        "http://admin:1234/x?mail=a@b",
        "http://token?x=1@camera/live",
    ],
)
def test_an_address_that_can_be_read_in_two_ways_is_refused(address: str) -> None:
    with pytest.raises(UserError, match="percent-encode the password"):
        open_source(address)


@pytest.mark.parametrize(
    "address",
    [
        "rtsp://admin:p%40ss%2Fword@camera:554/live?channel=1",
        "rtsp://camera/user=admin_password=x_channel=1.sdp",
        "http://host/@someone/live",
        "http://host/live?mail=a%40b",
        "http://[::1]:8080/clip.mp4",
    ],
)
def test_addresses_that_can_be_read_in_one_way_are_taken(address: str) -> None:
    check_address(address)


def test_addresses_within_a_sentence_are_found() -> None:
    assert redact_text("cannot open 'rtsp://u:hunter2@h/x' or redis://:p@r") == (
        "cannot open 'rtsp://***@h/x' or redis://***@r"
    )


@given(SECRET)
def test_no_secret_survives_in_a_sentence(secret: str) -> None:
    shown = redact_text(f"Error opening input: rtsp://user:{secret}@host/live: not found")
    assert secret not in shown
    assert "qZ7" not in shown
    assert "Zq9" not in shown
