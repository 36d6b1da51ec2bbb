"""`affectstream watch`: print what a running service shows, as text, JSON lines or CSV."""

import asyncio
import csv
import json
import signal
import sys
from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

from affectstream import Event, Refused, stream
from models.errors import UserError
from service.publish.table import COLUMNS, Table

Form = Literal["text", "json", "csv"]


def watch(url: str, session: str | None, token: str | None, form: Form) -> int:
    """Print the events of `session`, or of all, until it is closed or an interrupt comes; return the exit code.

    Raise `UserError` for a service or session that is not there, a wrong token, or a malformed address.
    """
    reconfigure = getattr(sys.stdout, "reconfigure", None)
    if reconfigure is not None:
        reconfigure(line_buffering=True)  # a reader behind a pipe gets each line as it comes
    try:
        asyncio.run(_print(url, session, token, _printer(form)))
    except Refused as error:
        raise UserError(str(error)) from None
    except (KeyboardInterrupt, asyncio.CancelledError):  # the ordinary ways to end it
        return 0
    return 0


async def _print(url: str, session: str | None, token: str | None, show: Callable[[Event], None]) -> None:
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    async for event in stream(url, session=session, token=token, wait=False):
        show(event)


def _printer(form: Form) -> Callable[[Event], None]:
    """Return a function that prints one event."""
    if form == "csv":
        return _csv_printer()
    if form == "json":
        return lambda event: _line(json.dumps(event, separators=(",", ":"), ensure_ascii=False))

    def show(event: Event) -> None:
        for line in lines_of(event):
            _line(line)

    return show


def _csv_printer() -> Callable[[Event], None]:
    """Return a function that prints the rows of exports (docs/exports.md), after a first column for the session."""
    table = csv.DictWriter(
        sys.stdout, ["session", *(column.name for column in COLUMNS)], restval="", extrasaction="ignore",
        lineterminator="\n",
    )  # fmt: skip
    table.writeheader()
    sessions: defaultdict[str, Table] = defaultdict(Table)

    def show(event: Event) -> None:
        for row in sessions[event["session"]].rows(cast(dict[str, Any], event)):
            table.writerow({"session": event["session"], **row})

    return show


def lines_of(event: Event) -> Iterator[str]:
    """Yield a line for each face of an event, or one for what else it says."""
    head = f"{event['t']:9.2f} s  {event['session']}"
    marker, alert, detail = event.get("marker"), event.get("alert"), event.get("detail")
    if marker:
        yield f"{head}  marker at {marker['t']:.3f} s: {marker['label']}"
    elif alert:
        yield f"{head}  alert {alert['status']}: {alert['rule']} ({alert['condition']})"
    elif detail is not None:
        yield f"{head}  {event['state']}{f': {detail}' if detail else ''}"
    for face in event["faces"]:
        valence, arousal = (_number(face["valence"]), _number(face["arousal"]))
        expression = face["expression"]
        shown = f"{expression['label']} {expression['probabilities'][expression['label']]:.2f}" if expression else ""
        why = f"  ({', '.join(face['reasons'])})" if face["reasons"] else ""
        yield f"{head}  face {face['track']}  valence {valence}  arousal {arousal}  {shown}{why}".rstrip()


def _number(value: float | None) -> str:
    return "    ?" if value is None else f"{value:+.2f}"


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
