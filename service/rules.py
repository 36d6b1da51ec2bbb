"""Rules on what a session shows: `frown: AU04 > 0.7 for 2 s` raises an alert once the condition has held for so long.

A rule is judged by the session's clock, so that a recording gives the alerts of the live session.
"""

import difflib
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from models.errors import UserError
from models.labels import ACTION_UNITS, EXPRESSIONS

MOST = 32  # rules of a session
LONGEST = 3600.0  # s that a condition may have to hold
CLEAR_AFTER = 1.0  # s that a raised condition must fail before it is cleared, so that an alert does not flicker
ENOUGH = 30  # events with a face that was read; a value that none of them held counts as one the model does not give
UNKNOWN_FOR = 1.0  # s without a value after which a condition counts as failing
NO_FACE = "no_face"
RANGES: dict[str, tuple[float, float]] = {
    "valence": (-1.0, 1.0),
    "arousal": (-1.0, 1.0),
    **dict.fromkeys((*EXPRESSIONS, *ACTION_UNITS, "occluded"), (0.0, 1.0)),
}
_RULE = re.compile(
    r"(?:(?P<name>[A-Za-z0-9_-]{1,64})\s*:\s*)?(?P<value>[A-Za-z0-9_]+)"
    r"(?:\s*(?P<comparison>[<>])\s*(?P<threshold>[^\s]+))?(?:\s+for\s+(?P<seconds>[^\s]+?)\s*s?)?"
)
_ROUNDING = 1e-6  # s
_READ = ("ok", "warming_up")

Data = Mapping[str, Any]


class UnusableRule(UserError):
    """Report a rule that cannot be read or can never hold, or more rules than a session may have (HTTP 400)."""


class RuleNameTaken(UnusableRule):
    """Report two rules of one name (HTTP 400)."""


class ValueNotGiven(UnusableRule):
    """Report a rule on a value that the session's model does not give (HTTP 400)."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Hold one rule.

    Attributes:
        name: What alerts call it.
        value: What it looks at: valence, arousal, an expression's or action unit's probability, occluded, or no_face.
        comparison: Whether the value must lie above or below the threshold; None for no_face.
        threshold: The limit; None for no_face.
        seconds: How long the condition must hold, on the session's clock.
    """

    name: str
    value: str
    comparison: Literal[">", "<"] | None
    threshold: float | None
    seconds: float

    @property
    def condition(self) -> str:
        """Return the condition as text, such as `AU04 > 0.7 for 2 s`."""
        limit = "" if self.threshold is None else f" {self.comparison} {self.threshold:g}"
        return f"{self.value}{limit}" + (f" for {self.seconds:g} s" if self.seconds else "")

    def holds(self, value: float | None) -> bool | None:
        """Return whether the condition holds for `value`; None if the value is unknown."""
        if value is None:
            return None
        if self.threshold is None:
            return value > 0
        return value > self.threshold if self.comparison == ">" else value < self.threshold


@dataclass(frozen=True, slots=True)
class RuleState:
    """Describe a rule to those who ask for it; `problem` says why it can never hold, and is None where it can."""

    name: str
    condition: str
    value: str
    comparison: Literal[">", "<"] | None
    threshold: float | None
    seconds: float
    problem: str | None = None

    @classmethod
    def of(cls, rule: Rule, problem: str | None) -> Self:
        """Return the description of `rule`."""
        return cls(rule.name, rule.condition, rule.value, rule.comparison, rule.threshold, rule.seconds, problem)

    @property
    def text(self) -> str:
        """Return the rule as `parse_rules` reads it."""
        return f"{self.name}: {self.condition}"


def parse_rules(texts: Iterable[str]) -> tuple[Rule, ...]:
    """Return the rules that `texts` hold, each like `frown: AU04 > 0.7 for 2 s` or `away: no_face for 5 s`.

    A rule without a name is called by its value. Raise `UnusableRule` for a rule that cannot be read, for two of one
    name, and for more than `MOST`.
    """
    rules: dict[str, Rule] = {}
    for text in texts:
        rule = _parse(text)
        if rule.name in rules:
            raise RuleNameTaken(
                f"two rules are called {rule.name!r}; give each a name of its own, as in NAME: CONDITION"
            )
        rules[rule.name] = rule
    if len(rules) > MOST:
        raise UnusableRule(f"{len(rules)} rules are more than the {MOST} that a session may have")
    return tuple(rules.values())


def _parse(text: str) -> Rule:
    found = _RULE.fullmatch(text.strip())
    if found is None:
        raise UnusableRule(
            f"the rule {text[:100]!r} cannot be read; write it like 'frown: AU04 > 0.7 for 2 s' or 'no_face for 5 s'"
        )
    value, comparison = found["value"], found["comparison"]
    seconds = _number(text, found["seconds"] or "0")
    if not 0 <= seconds <= LONGEST:
        raise UnusableRule(f"the rule {text[:100]!r} has to hold for {seconds:g} s; give 0 to {LONGEST:g}")
    if value == NO_FACE:
        if comparison is not None:
            raise UnusableRule(f"the rule {text[:100]!r} compares no_face, which is no number; write 'no_face for 5 s'")
        return Rule(found["name"] or value, value, None, None, seconds)
    if value not in RANGES:
        near = difflib.get_close_matches(value, [*RANGES, NO_FACE], 1)
        known = f"did you mean {near[0]}?" if near else f"there are {', '.join([*RANGES, NO_FACE])}"
        raise UnusableRule(f"the rule {text[:100]!r} is on {value!r}, which no event holds; {known}")
    if comparison is None:
        raise UnusableRule(f"the rule {text[:100]!r} has no threshold; write it like '{value} > 0.5 for 2 s'")
    threshold = _number(text, found["threshold"])
    low, high = RANGES[value]
    if not low <= threshold <= high:
        raise UnusableRule(
            f"the rule {text[:100]!r} compares {value} with {threshold:g}; it lies from {low:g} to {high:g}"
        )
    return Rule(found["name"] or value, value, ">" if comparison == ">" else "<", threshold, seconds)


def _number(text: str, written: str) -> float:
    try:
        number = float(written)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UnusableRule(f"the rule {text[:100]!r} has {written!r} where a number belongs")
    return number


def values_of(face: Data) -> dict[str, float | None]:
    """Return what a face of an event gives for rules, by name; None where the value is unknown now."""
    shares = face["expression"]["probabilities"] if face["expression"] is not None else dict.fromkeys(EXPRESSIONS)
    return {
        "valence": face["valence"],
        "arousal": face["arousal"],
        "occluded": face.get("occluded"),
        **shares,
        **face["aus"],
    }


@dataclass(slots=True)
class _Watch:
    """Hold whether the condition of one rule holds for one face, or for the whole picture, and since when."""

    known: float  # s, when its value was last known
    since: float | None = None  # s, since when the condition holds
    failing: float | None = None  # s, since when a raised condition fails
    raised: bool = False


class Rules:
    """Hold the rules of one session and which alerts are raised. Call `update` in the session's thread alone."""

    def __init__(self, rules: Sequence[Rule] = (), alerts: Iterable[Data] = ()) -> None:
        """Judge by `rules`, and clear those of `alerts`, from earlier incarnations, that are still raised."""
        self.rules = tuple(rules)
        self._left: list[Data] = _still_raised(alerts)
        self._given: set[str] = set()  # values that were seen
        self._read = 0  # events with a face that was read
        self._model = ""
        self._judged = self.rules
        self._watches: dict[tuple[Rule, int | None], _Watch] = {}

    @property
    def wanted(self) -> bool:
        """Return whether events are to be judged at all: there are rules, or there were some until now."""
        return bool(self.rules or self._judged or self._left)

    def set(self, rules: Sequence[Rule]) -> None:
        """Judge by `rules` from the next event on. Raise `ValueNotGiven` for one on a value that is not given."""
        for rule in rules:
            problem = self.problem(rule)
            if problem is not None:
                raise ValueNotGiven(problem)
        self.rules = tuple(rules)

    def problem(self, rule: Rule) -> str | None:
        """Return why `rule` can never hold, in a sentence; None if it can, or if too little was read to tell."""
        if self._read < ENOUGH or rule.value == NO_FACE or rule.value in self._given:
            return None
        given = ", ".join(name for name in RANGES if name in self._given)
        return f"the rule {rule.name!r} is on {rule.value}, which {self._model} does not give; it gives {given}"

    def update(self, event: Data) -> list[dict[str, Any]]:
        """Return the alerts (see `service.events.Alert`) that an event of a picture or of sound brings."""
        t = event["t"]
        alerts = self._end_earlier(t) if self._left else []
        alerts += self._change() if self._judged is not self.rules else []
        if not self._judged:
            return alerts
        faces = {face["track"]: values_of(face) for face in event["faces"] if face["status"] in _READ}
        if faces:
            self._read += 1
            self._model = event["model"]["name"]
            for values in faces.values():
                self._given.update(name for name, value in values.items() if value is not None)
        away = 1.0 if NO_FACE in event["reasons"] else 0.0
        for rule in self._judged:
            if rule.value == NO_FACE:
                alerts += self._judge(rule, None, t, away)
                continue
            watched = {track for judged, track in self._watches if judged == rule}
            for track in [*faces, *sorted(track for track in watched if track is not None and track not in faces)]:
                alerts += self._judge(rule, track, t, faces.get(track, {}).get(rule.value))
        return alerts

    def _judge(self, rule: Rule, track: int | None, t: float, value: float | None) -> list[dict[str, Any]]:
        watch = self._watches.setdefault((rule, track), _Watch(t))
        holds = rule.holds(value)
        if holds is not None:
            watch.known = t
        elif t - watch.known <= UNKNOWN_FOR:
            return []
        if holds:
            watch.failing = None
            watch.since = t if watch.since is None else watch.since
            if not watch.raised and t - watch.since >= rule.seconds - _ROUNDING:
                watch.raised = True
                return [_alert(rule, track, "raised", watch.since, value)]
            return []
        if watch.raised:
            watch.failing = watch.known if watch.failing is None else watch.failing
            if t - watch.failing < CLEAR_AFTER - _ROUNDING:
                return []
        del self._watches[rule, track]
        return [_alert(rule, track, "cleared", watch.failing, value)] if watch.failing is not None else []

    def _end_earlier(self, t: float) -> list[dict[str, Any]]:
        """Clear the alerts of an earlier incarnation on faces, whose tracks are over; keep those on the picture."""
        left, self._left = self._left, []
        cleared = []
        for alert in left:
            rule = next((rule for rule in self.rules if (rule.name, rule.condition) == _named(alert)), None)
            if rule is not None and rule.value == NO_FACE:
                self._watches[rule, None] = _Watch(t, since=t, raised=True)
            else:
                cleared.append({**alert, "status": "cleared", "since": t, "value": None})
        return cleared

    def _change(self) -> list[dict[str, Any]]:
        """Replace the rules by the new ones, and clear the alerts of rules that are not among them."""
        self._judged = self.rules
        gone = [(rule, track) for rule, track in self._watches if rule not in self._judged]
        watches = [(rule, track, self._watches.pop((rule, track))) for rule, track in gone]
        return [_alert(rule, track, "cleared", watch.known, None) for rule, track, watch in watches if watch.raised]


def _still_raised(alerts: Iterable[Data]) -> list[Data]:
    """Return those of `alerts`, in the order of time, after which no other of their rule and track came."""
    newest = {(*_named(alert), alert["track"]): alert for alert in alerts}
    fields = ("rule", "condition", "status", "since", "value", "track")
    return [{name: alert[name] for name in fields} for alert in newest.values() if alert["status"] == "raised"]


def _named(alert: Data) -> tuple[str, str]:
    return alert["rule"], alert["condition"]


def _alert(rule: Rule, track: int | None, status: str, since: float, value: float | None) -> dict[str, Any]:
    shown = None if rule.value == NO_FACE or value is None else round(value, 4)
    return {
        "rule": rule.name,
        "condition": rule.condition,
        "status": status,
        "since": since,
        "value": shown,
        "track": track,
    }
