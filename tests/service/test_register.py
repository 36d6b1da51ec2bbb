"""Names of sessions: who has them, how often they were used, and what is told when they become free."""

from dataclasses import dataclass

import pytest

from models.errors import UserError
from service.register import REMEMBERED_NAMES, NameTaken, Register, TooMany, Unavailable, UnknownSession


@dataclass(eq=False)
class Entry:
    name: str
    incarnation: int
    over: bool = False


@pytest.fixture
def forgotten() -> list[str]:
    return []


@pytest.fixture
def register(forgotten: list[str]) -> Register[Entry]:
    return Register(3, forgotten.append)


def test_a_name_that_is_used_again_counts_on_and_keeps_its_subscribers(
    register: Register[Entry], forgotten: list[str]
) -> None:
    first = register.add("desk", Entry)
    with pytest.raises(NameTaken):
        register.add("desk", Entry)
    first.over = True
    second = register.add("desk", Entry)
    assert (first.incarnation, second.incarnation) == (1, 2)
    assert register.holds("desk", second)
    assert not register.holds("desk", first)
    assert forgotten == []
    register.remove("desk", first)  # of which nothing is known any more
    assert register.get("desk") is second
    register.remove("desk", second)
    assert forgotten == ["desk"]
    assert register.add("desk", Entry).incarnation == 3


def test_an_entry_that_could_not_be_opened_gives_its_place_back(
    register: Register[Entry], forgotten: list[str]
) -> None:
    ended = register.add("desk", Entry)
    ended.over = True
    failed = register.add("desk", Entry)
    register.remove("desk", failed, ended)
    assert register.get("desk") is ended
    assert forgotten == []


def test_an_entry_that_cannot_be_made_changes_nothing(register: Register[Entry]) -> None:
    ended = register.add("desk", Entry)
    ended.over = True

    def fail(name: str, incarnation: int) -> Entry:
        raise UserError("there is no camera 99")

    with pytest.raises(UserError, match="camera 99"):
        register.add("desk", fail)
    assert register.get("desk") is ended


def test_so_many_are_open_and_so_many_ended_ones_are_listed(register: Register[Entry], forgotten: list[str]) -> None:
    entries = [register.add(None, Entry) for _ in range(3)]
    assert [entry.name for entry in entries] == ["s1", "s2", "s3"]
    with pytest.raises(TooMany):
        register.add(None, Entry)
    for entry in entries:
        entry.over = True
    for _ in range(3):
        register.add(None, Entry).over = True
    assert len(register.list()) == 3
    assert forgotten == ["s1", "s2", "s3"]


@pytest.mark.parametrize("name", ["", "no way", "ä", "x" * 65, "a/b"])
def test_a_name_that_cannot_be_one_gets_a_sentence(register: Register[Entry], name: str) -> None:
    with pytest.raises(UserError, match="choose another"):
        register.add(name, Entry)
    with pytest.raises(UnknownSession):
        register.get(name)


def test_nothing_is_opened_while_the_service_stops(register: Register[Entry]) -> None:
    register.close()
    with pytest.raises(Unavailable, match="shutting down"):
        register.add("desk", Entry)


def test_names_do_not_pile_up(register: Register[Entry]) -> None:
    for number in range(REMEMBERED_NAMES + 10):
        register.add(f"n{number}", Entry).over = True
    assert len(register._incarnations) == REMEMBERED_NAMES
