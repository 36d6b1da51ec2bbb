"""The notice for the people in view, in plain words, as Article 50(3) of the EU AI Act asks: `GET /notice`."""

from html import escape
from string import Template

from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from service.capture.media import State
from service.purpose import PURPOSES, name_of
from service.web.live import Live, Running
from service.web.problem import problems
from service.web.routes.pages import small_page

router = APIRouter(tags=["pages"])

_VOICE = (
    "How loud it is, whether somebody speaks, and how pleasant, how activated and which of the expressions the voice "
    "sounds like, where a microphone is on."
)
_NO_CONTACT = "Whoever runs it has not written it here. Ask the person who asked you in front of this camera."


@router.head("/notice", include_in_schema=False)
@router.get("/notice", summary="Notice for the people in view", response_class=HTMLResponse, responses=problems(403))
def notice(live: Running) -> HTMLResponse:
    """Say in plain words what is measured, what for, what is kept, and who runs it; needs no token."""
    settings = live.settings
    return small_page(
        "notice.html",
        lambda text: Template(text).substitute(
            voice=_items([_VOICE]) if settings.voice else "",
            purpose=_purposes(live),
            kept=_items([keeper.retention for keeper in live.keepers]),
            contact=escape(settings.contact or _NO_CONTACT),
        ),
    )


def _purposes(live: Live) -> str:
    """Return what is measured for now, without names of sessions; else what would be."""
    running = [one.purpose for one in live.sessions.list() if one.state not in (State.ENDED, State.FAILED)]
    purposes = dict.fromkeys(purpose for purpose in running if purpose is not None)
    if not purposes and live.settings.purpose is None:
        return "<p>Nobody is read at this moment. Whoever starts a measurement says what it is for.</p>"
    said = (
        "The measurements that run now are for:"
        if purposes
        else "Nobody is read at this moment. When somebody is, it is for:"
    )
    return f"<p>{said}</p><ul>{_items([_in_words(one) for one in purposes or [live.settings.purpose or '']])}</ul>"


def _in_words(purpose: str) -> str:
    name = name_of(purpose)
    return purpose.removeprefix("other: ") if name == "other" else f"{name} ({PURPOSES[name]})"


def _items(sentences: list[str]) -> str:
    return "".join(f"<li>{escape(sentence)}</li>\n" for sentence in sentences)
