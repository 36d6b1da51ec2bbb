"""The rules of a session, which raise alerts on what it shows: `GET` and `PUT /v1/sessions/{id}/rules`."""

from typing import Annotated, Literal

from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field

from service.rules import MOST
from service.web.live import Running
from service.web.problem import problems
from service.web.strict_json import StrictJsonRoute

router = APIRouter(prefix="/v1/sessions", tags=["sessions"], route_class=StrictJsonRoute)

_EXAMPLES = ["frown: AU04 > 0.7 for 2 s", "away: no_face for 5 s"]


class RuleRequest(BaseModel):
    """Hold all rules of a session as text: `NAME: VALUE > NUMBER for SECONDS s`, or `NAME: no_face for SECONDS s`."""

    model_config = ConfigDict(extra="forbid")

    rules: list[Annotated[str, Field(max_length=200)]] = Field(
        max_length=MOST, description="They take the place of those before", examples=[_EXAMPLES]
    )


class RuleInfo(BaseModel):
    """Describe one rule."""

    model_config = ConfigDict(from_attributes=True)

    name: str = Field(description="What its alerts call it")
    condition: str = Field(description="Its condition as text", examples=["AU04 > 0.7 for 2 s"])
    value: str = Field(description="valence, arousal, an expression, an action unit, occluded or no_face")
    comparison: Literal[">", "<"] | None = Field(description="Null for no_face")
    threshold: float | None = Field(description="Null for no_face")
    seconds: float = Field(description="How long the condition must hold, on the session's clock")
    problem: str | None = Field(description="Why it can never hold, in a sentence; null where it can")


class RuleList(BaseModel):
    """List the rules of a session."""

    rules: list[RuleInfo]


# These are plain functions: with workers they wait for the session's worker, and run in a thread.


@router.head("/{id}/rules", include_in_schema=False)
@router.get("/{id}/rules", summary="Rules of a session", responses=problems(401, 403, 404, 503))
def get_rules(id: str, live: Running) -> RuleList:
    """Return the session's rules; at first they are those of the setting `rule`."""
    return RuleList(rules=[RuleInfo.model_validate(rule) for rule in live.sessions.get(id).rules()])


@router.put(
    "/{id}/rules", summary="Set the rules of a session", responses=problems(400, 401, 403, 404, 409, 413, 422, 503)
)
def put_rules(id: str, wanted: RuleRequest, live: Running) -> RuleList:
    """Judge the session by these rules from its next event on; an empty list takes all back.

    A rule raises an alert, an event of the stream, once its condition has held for as long as it says, and clears it
    once the condition has failed for a second. Webhooks (`--webhook`) get the alerts too.
    """
    return RuleList(rules=[RuleInfo.model_validate(rule) for rule in live.sessions.get(id).set_rules(wanted.rules)])
