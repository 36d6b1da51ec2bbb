"""What the documentation repeats of the code is true; `make docs` rewrites it."""

import re
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from prometheus_client.metrics import MetricWrapperBase

from service import docs
from service.cli import _parser
from service.events import event_schema
from service.runtime import Runtime
from service.settings import Settings

ROOT = Path(docs.__file__).resolve().parent.parent
TEXTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]


def test_settings_in_the_readme_are_those_there_are() -> None:
    assert docs.README.read_text("utf-8") == docs.readme(), "run `make docs`"


# Figures of speed, memory and load. Thresholds and options have none of these units in the README's sentences.
MEASURED = re.compile(r"\b\d[\d.]*\s(?:ms|MB|GB|kB|events/s|% of a core|s after)\b")


def test_every_measured_figure_in_the_readme_is_in_a_page() -> None:
    """Those on speed are written by `make docs` from the newest page; any other stands in a page of its paragraph."""
    text = re.sub(
        r"```.*?```|<!-- (settings|figures) -->.*?<!-- /\1 -->", "", docs.README.read_text("utf-8"), flags=re.S
    )
    for paragraph in re.split(r"\n\s*\n|\n(?=- )", text):
        pages = re.findall(r"\]\((docs/[\w./-]+\.md)\)", paragraph)
        shown = " ".join((ROOT / page).read_text("utf-8") for page in pages)
        for figure in MEASURED.findall(paragraph):
            assert figure in shown, f"README says {figure!r}, which no page that the paragraph links to says"


def test_the_committed_description_of_the_api_is_current() -> None:
    assert docs.OPENAPI.read_text("utf-8") == docs.openapi(), "run `make docs`"


def test_every_setting_is_an_option_of_serve() -> None:
    serve = next(a for a in _parser()._actions if a.dest == "command").choices["serve"]  # type: ignore[index]
    options = {action.dest for action in serve._actions}
    assert set(Settings.model_fields) <= options


def test_the_event_in_the_readme_is_what_the_demo_gives(runtime: Runtime) -> None:
    """Other CPUs round otherwise, and may have chosen another engine."""
    shown, given = docs.event_in(docs.README.read_text("utf-8")), docs.example(runtime)
    Draft202012Validator(event_schema()).validate(shown)
    shown["model"] |= {key: given["model"][key] for key in ("engine", "precision")}
    assert docs.alike(shown, given, 0.25), f"run `make docs`: the demo gives {given}"


def test_an_event_is_alike_another_that_differs_in_what_is_measured_alone() -> None:
    event = docs.event_in(docs.README.read_text("utf-8"))
    later = event | {"captured_at": "later", "timing_ms": {}}
    assert docs.alike(event, later, 0.0)
    assert docs.with_event(docs.README.read_text("utf-8"), later) == docs.README.read_text("utf-8")
    (face,) = event["faces"]
    for other in (face | {"valence": face["valence"] + 0.2}, face | {"gaze": None}, face | {"status": "held"}):
        changed = event | {"faces": [other]}
        assert not docs.alike(event, changed, 0.1)
        assert docs.event_in(docs.with_event(docs.README.read_text("utf-8"), changed)) == changed


@pytest.mark.parametrize("page", TEXTS, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", page.read_text("utf-8")):
        assert "://" in target or (page.parent / target).exists(), f"{page.name} links to {target}"


PLACES = ("affectstream", "docker", "docs", "engines", "models", "requirements", "service", "tests")
FILE = re.compile(rf"`((?:{'|'.join(PLACES)})/[\w./-]*)`")


NOW = [page for page in TEXTS if page.parent.name != "benchmarks"]  # those are records of the commit in their name


@pytest.mark.parametrize("page", NOW, ids=lambda page: page.name)
def test_files_that_are_named_exist(page: Path) -> None:
    for name in FILE.findall(page.read_text("utf-8")):
        if "NAME" not in name:
            assert (ROOT / name).exists(), f"{page.name} names {name}"


def test_files_that_the_architecture_names_by_folder_exist() -> None:
    """A list item names a folder once; the further files of the item lie in it, or the sentence says where."""
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    known = {path.name for name in PLACES for path in (ROOT / name).rglob("*.py") if "node_modules" not in path.parts}
    assert set(re.findall(r"`(\w+\.py)`", page)) <= known


def test_the_map_has_every_room() -> None:
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    the_map = page.partition("```")[2].partition("```")[0]
    rooms = {
        path.parent.name for name in ("engines", "models", "service") for path in (ROOT / name).glob("*/__init__.py")
    }
    assert {room for room in rooms if f"{room}/" not in the_map} == set()


def test_metrics_are_named_as_documented() -> None:
    from service import metrics

    names = {"affect_frames", "affect_frames_dropped", "affect_stage_seconds", "affect_event_latency_seconds"}
    names |= {"affect_sessions", "affect_faces", "affect_subscribers", "affect_publish_errors", "affect_batch_size"}
    names |= {"affect_engine_info"}
    collectors = [value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)]
    assert names <= {family.name for collector in collectors for family in collector.describe()}


def test_the_page_of_metrics_has_those_there_are() -> None:
    from service import metrics
    from service.web.session_metrics import families_of

    found = set()
    for collector in (value for value in vars(metrics).values() if isinstance(value, MetricWrapperBase)):
        (family,) = collector.describe()
        labels = ",".join(collector._labelnames)
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.add((f"{name}{{{labels}}}" if labels else name, family.type))
    for family in families_of([]):
        name = f"{family.name}_total" if family.type == "counter" else family.name
        found.add((f"{name}{{{','.join(family._labelnames)}}}", family.type))
    page = (ROOT / "docs/metrics.md").read_text("utf-8")
    assert set(re.findall(r"^\| `(affect_.*?)` \| (\w+) \|", page, flags=re.M)) == found
