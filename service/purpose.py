"""The purpose of a session that reads a person: which there are, which the law forbids, and when one is needed.

A purpose is one text: a name of `PURPOSES`, or `other: ` and what it is. `decide` is called wherever a session begins.
"""

import re
from typing import Final

from models.errors import UserError
from service.forbidden_purposes import found_word

PURPOSES: Final[dict[str, str]] = {
    "research": "a study whose participants have agreed",
    "usability": "testing how people get on with a product",
    "accessibility": "a help for the person who is read",
    "art": "a performance or an installation",
    "own use": "only myself",
    "medical": "care or therapy",
    "safety": "warning people of danger, such as tiredness at the wheel",
    "other": "said in words",
}
MOST_LETTERS = 200  # of a purpose's text
ARTICLE = "Article 5(1)(f) of the EU AI Act (Regulation (EU) 2024/1689)"


class PurposeNeeded(UserError):
    """Report a session without a purpose, or with a text that is no purpose (HTTP 422)."""


class PurposeForbidden(UserError):
    """Report a purpose that the law forbids (HTTP 403)."""


def read_purpose(text: str) -> str:
    """Return a purpose as it is kept: a name of `PURPOSES`, or `other: ` and its text on one line.

    Raise `PurposeForbidden` for work and education, and `PurposeNeeded` for what is no purpose.
    """
    name, colon, said = text.partition(":")
    name = " ".join(re.split(r"[\s_-]+", name.strip().lower()))
    said = " ".join(said.split())
    if name not in PURPOSES or (name == "other") != bool(colon):
        _refuse_forbidden(text)
        raise PurposeNeeded(f"the purpose {_shown(text)} is none of these: {_listed()}")
    if name != "other":
        return name
    _refuse_forbidden(said)
    if not said or not said.isprintable() or len(said) > MOST_LETTERS:
        raise PurposeNeeded(f"write the purpose as other: and 1 to {MOST_LETTERS} letters that say what it is")
    return f"other: {said}"


def decide(source: str | None, given: str | None, default: str | None) -> str | None:
    """Return the purpose of a session on `source` (None: a peer's camera): `given`, else `default`, else None.

    The demo shows a moving portrait and reads nobody, so that it needs no purpose. Raise `PurposeNeeded` where one is
    needed, and what `read_purpose` raises.
    """
    if given is not None and given.strip():
        return read_purpose(given)
    if source is not None and is_demo(source):
        return None
    if default is None:
        raise PurposeNeeded(f"a session that reads a person needs a purpose, one of: {_listed()}")
    return read_purpose(default)


def is_demo(source: str) -> bool:
    """Return whether a source is the demo, which reads nobody."""
    return source.strip().lower().startswith("demo:")


def name_of(purpose: str) -> str:
    """Return the name of a purpose without the text of `other`, which may say something about a person."""
    return purpose.partition(":")[0]


def _refuse_forbidden(text: str) -> None:
    found = found_word(text)
    if found is not None:
        raise PurposeForbidden(
            f"the purpose names {_shown(found)}: {ARTICLE} forbids inferring emotions at work and in "
            "education, except for medical or safety reasons, which are purposes of their own here: medical, safety"
        )


def _listed() -> str:
    *names, other = PURPOSES
    return f"{', '.join(names)}, or '{other}: ' and what it is"


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else f"{text[:60]}…")
