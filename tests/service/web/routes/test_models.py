"""The cards that an event's `model` leads to."""

from collections.abc import Iterator

import pytest
from helpers.live_server import LiveServer, serving

from engines import weights
from models import registry


@pytest.fixture(scope="module")
def server() -> Iterator[LiveServer]:
    with serving() as running:
        yield running


def names_of(model: str) -> list[str]:
    """What events can name of a model: itself, the weights that ship, or those that were imported or are random."""
    shipped = sorted({one.version for one in weights.entries() if one.model == model})
    return [model, *(shipped or (weights.version_of(model, "0123456789abcdef"), weights.version_of(model, None)))]


@pytest.mark.parametrize("model", registry.served())
def test_the_events_of_every_served_model_lead_to_its_card(server: LiveServer, model: str) -> None:
    with server.client() as http:
        for name in names_of(model):
            answer = http.get(f"/v1/models/{name}/card")
            assert answer.status_code == 200, name
            assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
            title, _, text = answer.text.partition("\n")
            assert model in title
            assert len(text) > 500  # not only the manifest's facts


def test_the_voice_that_an_event_names_has_a_card(server: LiveServer) -> None:
    [voice] = {one.version for one in weights.entries() if one.model == "voice-mt"}
    with server.client() as http:
        assert http.get(f"/v1/models/{voice}/card").text.startswith(f"# {voice}\n")


@pytest.mark.parametrize("model", [*registry.served(), "voice-mt"])
def test_a_browser_has_the_card_as_a_page(server: LiveServer, model: str) -> None:
    with server.client(headers={"accept": "text/html,application/xhtml+xml"}) as http:
        answer = http.get(f"/v1/models/{model}/card")
        source = http.get(f"/v1/models/{model}/card", headers={"accept": "*/*"}).text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.text.count("<h2>") == sum(line.startswith("##") for line in source.splitlines())
    assert [mark for mark in ("**", "`", "](", "|") if mark in answer.text.partition("<main>")[2]] == []


def test_what_no_card_is_called_is_404_in_a_sentence(server: LiveServer) -> None:
    with server.client() as http:
        for name in ("nonsense", "nonsense-untrained", "tsav-7", "..%2F..%2Fpyproject"):
            answer = http.get(f"/v1/models/{name}/card")
            assert answer.status_code == 404
            assert answer.json()["detail"]
