"""The body of every error answer: problem details (RFC 9457) with a code for programs and a sentence for people."""

import json
import re
from http import HTTPStatus
from typing import Any

MEDIA_TYPE = "application/problem+json"


def details(status: int, sentence: str, kind: type[Exception] | None = None) -> dict[str, Any]:
    """Return the fields of an error answer.

    Args:
        status: HTTP status.
        sentence: What is wrong, with the value, and what to do next.
        kind: Class of the error, which gives the code: `NameTaken` is `name_taken`; None takes the status's phrase.
    """
    phrase = HTTPStatus(status).phrase
    words = re.split(r"[ -]", phrase) if kind is None else re.findall("[A-Z][a-z]+", kind.__name__)
    code = "_".join(words).lower()
    return {"type": "about:blank", "title": phrase, "status": status, "code": code, "detail": sentence}


def encoded(status: int, sentence: str, kind: type[Exception] | None = None) -> bytes:
    """Return the body of an error answer as JSON, for answers that are sent below the application."""
    return json.dumps(details(status, sentence, kind)).encode()
