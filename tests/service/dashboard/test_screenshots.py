"""README's pictures of the dashboard show the weights that ship."""

import re

import pytest
from helpers.repository import ROOT
from helpers.screenshots import FOLDER, PICTURES, names_of, weights_of

from service.runtime import Runtime


@pytest.mark.parametrize("name", PICTURES)
def test_a_picture_of_the_readme_was_made_with_the_weights_that_ship(runtime: Runtime, name: str) -> None:
    path = FOLDER / f"{name}.png"
    assert weights_of(path) == names_of(dict(runtime.info)), "run make screenshots"
    shown = re.findall(r"docs/images/([\w-]+)\.png", (ROOT / "README.md").read_text("utf-8"))
    assert name in shown
