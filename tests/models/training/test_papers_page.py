"""docs/papers.md, claim by claim: what it names exists, and every recipe is named."""

import re
from dataclasses import fields
from inspect import signature

import pytest
from helpers.repository import ROOT

from models import registry
from models.multiterm.boosting import Boosting
from models.training import recipe as recipes
from service.adapters.options import ModelOptions

STATUSES = {"done", "option", "needs data", "not done"}
COMMANDS = {"prepare", "train", "evaluate"}


def claims():
    text = (ROOT / "docs" / "papers.md").read_text("utf-8")
    table = text[text.index("| paper | claim | status |") :].split("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in table]


CLAIMS = claims()


@pytest.fixture(scope="module")
def tests():
    return set(re.findall(r"^def (test_\w+)", "".join(p.read_text("utf-8") for p in ROOT.glob("tests/**/*.py")), re.M))


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: f"{claim[0]}: {claim[1][:40]}")
def test_a_claim_names_what_exists(claim, tests):
    _, _, status, where, test = claim
    assert status in STATUSES
    assert set(re.findall(r"recipe `([^`]+)`", where)) <= set(recipes.available())
    assert set(re.findall(r"key `([^`]+)`", where)) <= {field.name for field in fields(recipes.Recipe)}
    assert set(re.findall(r"live `([^`]+)`", where)) <= {field.name for field in fields(ModelOptions)}
    assert set(re.findall(r"boosting `([^`]+)`", where)) <= {field.name for field in fields(Boosting)}
    assert set(re.findall(r"command `([^`]+)`", where)) <= COMMANDS
    for option, name in re.findall(r"option `([^`]+)` of `([^`]+)`", where):
        network = registry.resolve(registry.row(name).network)
        assert option in signature(network).parameters
    if status == "not done":
        assert not test
    else:
        assert set(re.findall(r"`(test_\w+)`", test)) <= tests
        assert test


def test_every_recipe_of_a_paper_is_named_by_a_claim_or_a_system():
    page = (ROOT / "docs" / "papers.md").read_text("utf-8")
    for name in recipes.available():
        if not name.endswith("-small"):
            assert f"`{name}`" in page, name


def test_the_paper_of_2021_is_cited_by_its_year():
    for path in [*ROOT.glob("models/**/*.py"), *ROOT.glob("models/recipes/*.toml"), ROOT / "docs" / "papers.md"]:
        assert "Kollias and Zafeiriou 2020" not in path.read_text("utf-8"), path
