"""Bounds on what strangers may send, checked from headers before anything large is decoded."""

import math
import os

from models.errors import UserError

MAX_MEGAPIXELS = 64.0  # of a still picture; a phone's largest photographs have 50 to 200
MAX_FILM_MEGAPIXELS = 36.0  # of a film, of which a decoder holds several pictures; 8K has 33
VARIABLE = "AFFECTSTREAM_MAX_MEGAPIXELS"
LOWEST_RATE = 4_000  # Hz; speech by telephone has 8,000, and a header that says 1 Hz makes a day of each second
HIGHEST_RATE = 768_000  # Hz


def limit_megapixels(megapixels: float | None) -> None:
    """Let pictures have at most so many million pixels, in this process and its children; None changes nothing."""
    if megapixels is not None:
        os.environ[VARIABLE] = f"{megapixels:g}"


def max_pixels(film: bool = False) -> int:
    """Return the most pixels that a picture may have: `AFFECTSTREAM_MAX_MEGAPIXELS` million.

    By default 64 million, and 36 million for a picture of a film. Raises `UserError` if the variable is no number above
    0.
    """
    text = os.environ.get(VARIABLE, "")
    if not text:
        return round((MAX_FILM_MEGAPIXELS if film else MAX_MEGAPIXELS) * 1e6)
    try:
        megapixels = float(text)
    except ValueError:
        megapixels = math.nan
    if not 0 < megapixels < math.inf:
        raise UserError(f"{VARIABLE}={text} is not a number above 0; give millions of pixels, such as 64.")
    return round(megapixels * 1e6)


def too_large(width: int, height: int, film: bool = False) -> str | None:
    """Return a sentence's end that says why a picture of `width` x `height` pixels is refused; None if it is not."""
    limit = max_pixels(film)
    if width * height <= limit:
        return None
    setting = f"--max-megapixels or {VARIABLE}"
    return f"{width}x{height} pixels are more than {limit / 1e6:g} million; set {setting} higher to read it"


def unusable_rate(rate: int) -> str | None:
    """Return a sentence's end that says why sound of `rate` Hz is refused; None if it is not."""
    if LOWEST_RATE <= rate <= HIGHEST_RATE:
        return None
    return f"a sample rate of {rate} Hz is not between {LOWEST_RATE} and {HIGHEST_RATE} Hz"
