"""What a session may choose for itself: model, voice, smoothing and rate; and what it gets where it chooses nothing."""

import itertools
import json
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from helpers.kept_runtime import real_app
from helpers.live_models import loaded
from helpers.live_server import serving
from helpers.sources import demo_items
from helpers.streams import until
from helpers.whip import whip_app
from pydantic import ValidationError
from websockets.sync.client import connect

from models.errors import UserError
from service.capture.media import Frame, Sound
from service.models_beside import Models
from service.register import TooMany
from service.runtime import Runtime, RuntimeOptions
from service.session_options import NotOffered, Offer, RequestedOptions, SessionOptions
from service.settings import Settings

OTHER = "mt-vgg"  # a small random network stands in for its weights


def beside(runtime: Runtime) -> Runtime:
    return Runtime(loaded(OTHER), runtime.networks, RuntimeOptions(model=OTHER), semaphore=runtime.semaphore)


@pytest.fixture
def client(runtime: Runtime) -> Iterator[httpx.Client]:
    with serving(real_app(runtime, rate=20, max_sessions=4)) as server, server.client() as http:
        server.live.sessions._models._load = lambda model: beside(runtime)  # type: ignore[attr-defined]
        yield http


def opened(client: httpx.Client, **asked: Any) -> dict[str, Any]:
    answer = client.post("/v1/sessions", json={"source": "demo:", **asked})
    assert answer.status_code == 201, answer.text
    info: dict[str, Any] = answer.json()
    return {name: info[name] for name in ("model", "voice", "smoothing", "rate")}


def events(client: httpx.Client, session: str, count: int) -> list[dict[str, Any]]:
    """The session's first events with a picture."""
    address = str(client.base_url).replace("http", "ws").rstrip("/") + f"/v1/stream?session={session}"
    found: list[dict[str, Any]] = []
    with connect(address) as socket:
        while len(found) < count:
            event = json.loads(socket.recv(timeout=60))
            found += [event] if event["timing_ms"] else []
    return found


def test_a_session_gets_what_it_asks_for_and_else_what_the_server_gives(client: httpx.Client) -> None:
    assert opened(client, name="a") == {"model": "face-mt", "voice": True, "smoothing": "normal", "rate": 20}
    wanted = {"model": "face-mt", "voice": False, "smoothing": "off", "rate": 5}
    assert opened(client, name="b", **wanted) == wanted
    assert client.get("/v1/sessions/b").json().items() >= wanted.items()
    usual, own = events(client, "a", 4), events(client, "b", 4)
    assert "voice" in usual[-1]["model"]
    assert "voice" in usual[-1]["audio"]
    assert own[-1]["model"]["missing"] == ["sound"]
    assert "voice" not in own[-1]["audio"]
    assert len({int(event["t"] * 5 + 0.01) for event in own}) == len(own)  # one event a tick at most
    face = own[-1]["faces"][0]
    assert face["valence"] == face["raw"]["valence"]


def test_a_model_without_weights_here_is_refused_with_those_that_are(client: httpx.Client) -> None:
    refused = client.post("/v1/sessions", json={"source": "demo:", "model": OTHER})
    assert refused.status_code == 422
    problem = refused.json()
    assert problem["code"] == "not_offered"
    assert problem["detail"] == f"the model '{OTHER}' is not available here; available are: face-mt"


@pytest.mark.parametrize(
    ("asked", "says"),
    [
        ({"model": "nope"}, "available are: face-mt"),
        ({"smoothing": "very"}, "smoothing"),
        ({"rate": 0.5}, "rate"),
        ({"rate": 121}, "rate"),
        ({"voice": "perhaps"}, "voice"),
        ({"volume": 3}, "volume"),
    ],
)
def test_what_cannot_be_had_is_refused_with_a_sentence(client: httpx.Client, asked: dict[str, Any], says: str) -> None:
    answer = client.post("/v1/sessions", json={"source": "demo:", **asked})
    assert (answer.status_code, says in answer.json()["detail"]) == (422, True)
    assert client.get("/v1/sessions").json() == {"sessions": []}


def test_whip_takes_the_same_in_its_query() -> None:
    with serving(whip_app()) as server, server.client() as client:
        for query in ("model=nope", "rate=0", "smoothing=very", "voice=perhaps"):
            answer = client.post(f"/whip/x?{query}", content="v=0", headers={"content-type": "application/sdp"})
            assert answer.status_code == 422, query
            assert query.partition("=")[0] in answer.json()["detail"]


def test_weights_that_are_here_can_be_had(fresh_cache: Any) -> None:
    assert set(Offer.of(Settings(untrained=True)).models()) >= {"face-mt", "tsav", "multiterm"}
    assert Offer.of(Settings(untrained=True, max_models=1)).models() == ("face-mt",)
    offer = Offer.of(Settings(model="tsav"))
    assert offer.models() == ("tsav", "face-mt")  # the latter's weights ship
    assert offer.decide(RequestedOptions(model="face-mt")) == SessionOptions("face-mt", True)


def test_voice_is_refused_where_it_would_not_be_true() -> None:
    with pytest.raises(NotOffered, match="--no-voice"):
        Offer.of(Settings(voice=False)).decide(RequestedOptions(voice=True))
    assert Offer.of(Settings(voice=False)).decide(None).voice is False
    offer = Offer.of(Settings(untrained=True))
    assert offer.decide(RequestedOptions(model="tsav")).voice is None
    with pytest.raises(NotOffered, match="takes sound by itself"):
        offer.decide(RequestedOptions(model="tsav", voice=False))


def test_others_go_on_while_a_model_is_loaded(runtime: Runtime) -> None:
    loading, go = threading.Event(), threading.Event()

    def load(model: str) -> Runtime:
        loading.set()
        assert go.wait(60)
        return beside(runtime)

    with (
        serving(real_app(runtime, untrained=True)) as server,
        server.client() as client,
        ThreadPoolExecutor(1) as pool,
    ):
        server.live.sessions._models._load = load  # type: ignore[attr-defined]
        opened(client, name="a")
        asked = pool.submit(opened, client, name="b", model=OTHER)
        assert loading.wait(60)
        assert len(events(client, "a", 5)) == 5
        go.set()
        assert asked.result() == {"model": OTHER, "voice": None, "smoothing": "normal", "rate": None}
        names = {name: events(client, name, 2)[-1]["model"]["name"] for name in ("a", "b")}
        assert names == {"a": "face-mt", "b": OTHER}
        known = client.get("/v1/models").json()
        assert [one["name"] for one in known["models"]] == ["face-mt", OTHER]  # the server's own is first
        assert len(known["licences"]) == len(set(known["licences"]))
        assert client.get("/readyz").json() == {"ready": True, "reasons": []}
        third = client.post("/v1/sessions", json={"source": "demo:", "model": "tsav"})
        assert third.status_code == 429
        assert "--max-models" in third.json()["detail"]
        assert OTHER in third.json()["detail"]


def test_a_model_makes_room_once_no_session_uses_it(runtime: Runtime) -> None:
    made: list[str] = []

    def load(model: str) -> Runtime:
        made.append(model)
        if model == "broken":
            raise UserError("its file is gone")
        return beside(runtime)

    models = Models(runtime, load, 2)
    assert models.acquire("face-mt") is runtime
    first = models.acquire("one")
    assert models.acquire("one") is first
    with pytest.raises(TooMany, match="face-mt, one"):
        models.acquire("two")
    models.release("one")
    models.release("one")
    assert models.acquire("one") is first  # still in memory
    models.release("one")
    for _ in range(2):  # a model that cannot be loaded leaves no trace
        with pytest.raises(UserError, match="is gone"):
            models.acquire("broken")
    models.acquire("two")
    assert made == ["one", "broken", "broken", "two"]
    models.close()


def test_live_sessions_release_their_model(runtime: Runtime) -> None:
    with serving(real_app(runtime, untrained=True)) as server, server.client() as client:
        models: Models = server.live.sessions._models  # type: ignore[attr-defined]
        models._load = lambda model: beside(runtime)
        opened(client, name="b", model=OTHER)
        assert models._beside[OTHER].users == 1
        taken = client.post("/v1/sessions", json={"source": "demo:", "name": "b", "model": OTHER})
        assert (taken.status_code, models._beside[OTHER].users) == (409, 1)
        client.delete("/v1/sessions/b")
        until(lambda: models._beside[OTHER].users == 0)


def test_a_rate_is_kept_by_the_clock(runtime: Runtime) -> None:
    pipeline = runtime.pipeline("x", options=SessionOptions(rate=5))
    read = []
    for item in demo_items(1.0):
        if isinstance(item, Frame):
            if pipeline.wants(item):
                read.append(round(pipeline.frame(item).data["t"], 2))
            else:
                pipeline.skip(item)
    assert read == [0.0, 0.2, 0.4, 0.6, 0.8]


def test_a_rate_holds_for_sound_alone(runtime: Runtime) -> None:
    pipeline = runtime.pipeline("x", options=SessionOptions(rate=2))
    sounds = [item for item in demo_items(3.0) if isinstance(item, Sound)]
    times = [event.data["t"] for sound in sounds for event in pipeline.sound(sound)]
    assert len(times) >= 4
    assert min(b - a for a, b in itertools.pairwise(times)) >= 0.49


@pytest.mark.parametrize("asked", [{"voice": 0}, {"voice": "true"}, {"rate": "10"}, {"rate": True}])
def test_text_and_numbers_are_no_truth_values_and_the_reverse(asked: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RequestedOptions.model_validate(asked)
    assert RequestedOptions(voice=True, rate=10).rate == 10.0
