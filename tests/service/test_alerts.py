"""Rules on what a session shows: how they are read, when they raise an alert, and when they clear it."""

from collections.abc import Iterable
from typing import Any

import pytest

from models.errors import UserError
from models.labels import EXPRESSIONS
from service.rules import MOST, Rule, Rules, parse_rules

FPS = 30


def face(track: int = 1, status: str = "ok", **more: Any) -> dict[str, Any]:
    expression = {"label": "neutral", "probabilities": dict.fromkeys(EXPRESSIONS, 1 / 7)}
    values = {"valence": 0.0, "arousal": 0.0, "occluded": 0.1, "expression": expression, "aus": {"AU04": 0.1}}
    return {"track": track, "status": status, **values, **more}


def event(t: float, *faces: dict[str, Any]) -> dict[str, Any]:
    reasons = [] if faces else ["no_face"]
    return {"t": round(t, 3), "faces": list(faces), "reasons": reasons, "model": {"name": "face-mt"}}


def judged(rules: Rules, events: Iterable[dict[str, Any]]) -> list[tuple[float, str, str, float]]:
    """(t, rule, status, since) of each alert."""
    return [(one["t"], alert["rule"], alert["status"], alert["since"]) for one in events for alert in rules.update(one)]


def valences(*spans: tuple[float, float | None], track: int = 1) -> list[dict[str, Any]]:
    """Events at 30 a second: for each (seconds, valence) that long; None for a face that is held."""
    events: list[dict[str, Any]] = []
    for seconds, valence in spans:
        for _ in range(round(seconds * FPS)):
            t = len(events) / FPS
            events.append(event(t, face(track, "held" if valence is None else "ok", valence=valence)))
    return events


@pytest.mark.parametrize(
    ("text", "rule", "condition"),
    [
        ("frown: AU04 > 0.7 for 2 s", Rule("frown", "AU04", ">", 0.7, 2.0), "AU04 > 0.7 for 2 s"),
        ("valence<-0.3 for 5", Rule("valence", "valence", "<", -0.3, 5.0), "valence < -0.3 for 5 s"),
        ("joy: happiness > .5", Rule("joy", "happiness", ">", 0.5, 0.0), "happiness > 0.5"),
        ("away: no_face for 5s", Rule("away", "no_face", None, None, 5.0), "no_face for 5 s"),
    ],
)
def test_a_rule_is_read_as_it_is_written(text: str, rule: Rule, condition: str) -> None:
    assert parse_rules([text]) == (rule,)
    assert rule.condition == condition
    assert parse_rules([f"{rule.name}: {condition}"]) == (rule,)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "cannot be read"),
        ("valence", "no threshold"),
        ("valence > much", "'much' where a number belongs"),
        ("valence > nan", "'nan' where a number belongs"),
        ("valence > 3", "from -1 to 1"),
        ("AU04 > -0.1", "from 0 to 1"),
        ("valance > 0.1", "did you mean valence?"),
        ("AU99 > 0.1", "which no event holds"),
        ("valence > 0 for -1", "give 0 to 3600"),
        ("no_face > 1", "is no number"),
        ("valence > 0; rm", "cannot be read"),
    ],
)
def test_what_is_no_rule_is_refused_with_a_sentence(text: str, why: str) -> None:
    with pytest.raises(UserError, match=why):
        parse_rules([text])


def test_names_are_used_once_and_rules_are_bounded() -> None:
    with pytest.raises(UserError, match="two rules are called 'valence'"):
        parse_rules(["valence > 0", "valence < 0"])
    with pytest.raises(UserError, match=f"more than the {MOST}"):
        parse_rules([f"r{n}: valence > 0" for n in range(MOST + 1)])


def test_an_alert_is_raised_once_the_condition_has_held_and_cleared_once_it_has_failed() -> None:
    rules = Rules(parse_rules(["low: valence < -0.3 for 2 s"]))
    alerts = judged(rules, valences((1, 0.0), (4, -0.5), (3, 0.0)))
    assert alerts == [(3.0, "low", "raised", 1.0), (pytest.approx(6.0, abs=0.04), "low", "cleared", 5.0)]


def test_a_condition_that_does_not_hold_long_enough_raises_nothing() -> None:
    rules = Rules(parse_rules(["low: valence < -0.3 for 2 s"]))
    assert judged(rules, valences((1.9, -0.5), (1, 0.0), (1.9, -0.5))) == []


def test_an_alert_does_not_flicker_about_its_threshold() -> None:
    rules = Rules(parse_rules(["low: valence < -0.3"]))
    assert len(judged(rules, valences(*[(0.3, -0.5), (0.3, 0.0)] * 10))) == 1


def test_a_value_that_is_unknown_for_a_moment_changes_nothing_and_for_long_counts_as_failing() -> None:
    rules = Rules(parse_rules(["low: valence < -0.3 for 2 s"]))
    assert judged(rules, valences((1.5, -0.5), (0.5, None), (1, -0.5)))[0] == (2.0, "low", "raised", 0.0)
    rules = Rules(parse_rules(["low: valence < -0.3 for 2 s"]))
    assert judged(rules, valences((1.5, -0.5), (1.5, None), (1.5, -0.5))) == []


def test_each_face_is_judged_by_itself() -> None:
    rules = Rules(parse_rules(["low: valence < -0.3 for 1 s"]))
    events = [event(n / FPS, face(1, valence=-0.5), face(2, valence=0.5)) for n in range(2 * FPS)]
    alerts = [alert for one in events for alert in rules.update(one)]
    assert [(alert["track"], alert["value"]) for alert in alerts] == [(1, -0.5)]


def test_nobody_in_view_is_a_condition_and_coming_back_clears_it() -> None:
    rules = Rules(parse_rules(["away: no_face for 2 s"]))
    there = [event(n / FPS, face()) for n in range(FPS)]
    gone = [event(1 + n / FPS) for n in range(3 * FPS)]
    back = [event(4 + n / FPS, face(2)) for n in range(2 * FPS)]
    alerts = judged(rules, [*there, *gone, *back])
    assert [(name, status) for _, name, status, _ in alerts] == [("away", "raised"), ("away", "cleared")]
    assert alerts[0][0] == pytest.approx(3.0)


def test_a_rule_on_a_unit_that_the_model_does_not_give_is_one_sentence() -> None:
    rules = Rules(parse_rules(["x: AU28 > 0.5"]))
    assert rules.problem(rules.rules[0]) is None  # nothing was read yet
    judged(rules, valences((1, 0.5)))
    sentence = rules.problem(rules.rules[0])
    assert sentence is not None
    assert sentence.startswith("the rule 'x' is on AU28, which face-mt does not give; it gives valence, arousal,")
    with pytest.raises(UserError, match="which face-mt does not give"):
        rules.set(parse_rules(["y: AU28 > 0.1"]))


def test_a_value_that_is_unknown_at_first_is_not_taken_for_one_that_is_not_given() -> None:
    rules = Rules(parse_rules(["x: AU04 > 0.5"]))
    judged(rules, [event(n / FPS, face(expression=None, aus={})) for n in range(FPS - 1)])
    assert rules.problem(rules.rules[0]) is None
    judged(rules, valences((1, 0.5)))
    assert rules.problem(rules.rules[0]) is None


def test_a_rule_that_is_taken_back_clears_its_alert_and_others_go_on() -> None:
    rules = Rules(parse_rules(["low: valence < -0.3", "high: valence > 0.3 for 1 s"]))
    events = valences((1, -0.5), (2, 0.5))
    assert [name for _, name, _, _ in judged(rules, events[:FPS])] == ["low"]
    rules.set(parse_rules(["high: valence > 0.3 for 1 s"]))
    assert [(name, status) for _, name, status, _ in judged(rules, events[FPS:])] == [
        ("low", "cleared"), ("high", "raised"),
    ]  # fmt: skip


def earlier(*alerts: tuple[str, str, int | None, str]) -> list[dict[str, Any]]:
    """Alerts of an earlier incarnation: (rule, condition, track, status)."""
    common = {"since": 50.0, "value": 0.9, "t": 52.0}
    return [
        {"rule": rule, "condition": condition, "track": track, "status": status, **common}
        for rule, condition, track, status in alerts
    ]


def test_what_an_earlier_incarnation_left_raised_is_cleared_once() -> None:
    """A worker that died raised it; its tracks are over, and whoever waits for the end of the alert gets it."""
    condition = "valence > 0.5 for 1 s"
    left = earlier(
        ("glad", condition, 1, "raised"),
        ("glad", condition, 2, "raised"),
        ("glad", condition, 2, "cleared"),
        ("gone", "AU04 > 0.7", 3, "raised"),
    )
    rules = Rules(parse_rules([f"glad: {condition}"]), left)
    found = judged(rules, valences((2, 0.9), (2, 0.0)))
    assert [(rule, status) for _, rule, status, _ in found] == [
        ("glad", "cleared"), ("gone", "cleared"), ("glad", "raised"), ("glad", "cleared"),
    ]  # fmt: skip
    assert [t for t, *_ in found[:2]] == [0.0, 0.0]
    assert Rules((), left).wanted


@pytest.mark.parametrize(("seen", "wanted"), [(False, []), (True, ["cleared"])])
def test_a_rule_on_the_whole_picture_goes_on_where_it_was_left(seen: bool, wanted: list[str]) -> None:
    rules = Rules(parse_rules(["away: no_face for 1 s"]), earlier(("away", "no_face for 1 s", None, "raised")))
    events = [event(n / FPS, *([face()] if seen else [])) for n in range(3 * FPS)]
    assert [status for _, _, status, _ in judged(rules, events)] == wanted
