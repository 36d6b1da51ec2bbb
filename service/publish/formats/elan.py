"""ELAN's annotation format, EAF 3.0 (https://www.mpi.nl/tools/elan/EAF_Annotation_Format_3.0_and_ELAN.pdf).

A tier for the markers and, for each face, one for its expression, blinks, closed eyes, head gestures, speech and each
action unit while its probability is at least the threshold of the table.
"""

import mimetypes
from collections.abc import Iterable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path, PurePosixPath
from xml.etree import ElementTree

from affectstream import __version__
from models.labels import ACTION_UNITS
from service.publish.formats.episodes import BLINK, KINDS, MARKER, Episode, episodes
from service.publish.formats.format import Making, Writer
from service.publish.formats.json_lines import ConvertedAtEnd, events_of

MARKER_MS = 40  # a moment has no length, and ELAN shows nothing that has none
_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_TYPE = "affectstream"
_Annotation = tuple[int, int, str]  # ms, ms, label


def open_elan(path: Path, making: Making) -> Writer:
    """Return a writer of ELAN's document. Raise `OSError` if `path` cannot be written."""
    return ConvertedAtEnd(path, lambda journal: finish(journal, making))


def finish(journal: Path, making: Making | None = None) -> Path:
    """Turn a journal of JSON lines into a document beside it, and return where that is."""
    root = document(episodes(events_of(journal)), (making or Making()).input_name())
    made = journal.with_name(f"{journal.name}.eaf")
    ElementTree.indent(root)
    made.write_bytes(ElementTree.tostring(root, "utf-8", xml_declaration=True) + b"\n")
    return made


def document(found: Iterable[Episode], media: str = "") -> ElementTree.Element:
    """Return the document of the episodes `found` in the file or address `media`."""
    root = ElementTree.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"Affectstream {__version__}",
            "DATE": datetime.now(UTC).isoformat(timespec="seconds"),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": _SCHEMA,
        },
    )
    header = ElementTree.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    if media:
        ElementTree.SubElement(header, "MEDIA_DESCRIPTOR", _media(media))
    tiers = {name: _annotations(of) for name, of in _tiers(found).items()}
    count = sum(map(len, tiers.values()))
    ElementTree.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(count)
    order = ElementTree.SubElement(root, "TIME_ORDER")
    times = sorted({ms for annotations in tiers.values() for annotation in annotations for ms in annotation[:2]})
    slots = {ms: f"ts{number}" for number, ms in enumerate(times, 1)}
    for ms, slot in slots.items():
        ElementTree.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": slot, "TIME_VALUE": str(ms)})
    number = 0
    for name, annotations in tiers.items():
        tier = ElementTree.SubElement(root, "TIER", {"LINGUISTIC_TYPE_REF": _TYPE, "TIER_ID": name})
        for start, end, label in annotations:
            number += 1
            identity = {"ANNOTATION_ID": f"a{number}", "TIME_SLOT_REF1": slots[start], "TIME_SLOT_REF2": slots[end]}
            outer = ElementTree.SubElement(tier, "ANNOTATION")
            inner = ElementTree.SubElement(outer, "ALIGNABLE_ANNOTATION", identity)
            ElementTree.SubElement(inner, "ANNOTATION_VALUE").text = label
    ElementTree.SubElement(
        root,
        "LINGUISTIC_TYPE",
        {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": _TYPE, "TIME_ALIGNABLE": "true"},
    )
    return root


def _tiers(found: Iterable[Episode]) -> dict[str, list[Episode]]:
    """Return the episodes by tier: markers first, then face by face, in the order of the kinds."""
    kinds = {kind: number for number, kind in enumerate((MARKER, "expression", BLINK, *KINDS))}
    tiers: dict[tuple[int, int, str], list[Episode]] = {}
    for episode in found:
        name = "markers" if episode.track is None else f"{_named(episode.kind)}@face {episode.track}"
        tiers.setdefault((episode.track or 0, kinds[episode.kind], name), []).append(episode)
    return {key[2]: tiers[key] for key in sorted(tiers)}


def _named(kind: str) -> str:
    return f"{kind} {ACTION_UNITS[kind]}" if kind in ACTION_UNITS else kind


def _annotations(tier: Iterable[Episode]) -> list[_Annotation]:
    """Return the annotations of a tier, none over another: a begin ends what was before, and equal begins join."""
    joined: dict[int, tuple[int, str]] = {}
    for episode in tier:
        start = round(episode.start * 1000)
        end = max(round(episode.end * 1000), start + (MARKER_MS if episode.kind == MARKER else 1))
        before = joined.get(start)
        joined[start] = (end, episode.label)
        if before is not None:
            joined[start] = max(end, before[0]), f"{before[1]}; {episode.label}"
    ordered = [(start, *joined[start]) for start in sorted(joined)]
    cut = [(one[0], min(one[1], after[0]), one[2]) for one, after in pairwise(ordered)]
    return [*cut, *ordered[-1:]]


def _media(name: str) -> dict[str, str]:
    kind = mimetypes.guess_type(name)[0] or "unknown"
    if "://" in name:
        return {"MEDIA_URL": name, "MIME_TYPE": kind}
    path = Path(name).absolute()
    return {"MEDIA_URL": path.as_uri(), "MIME_TYPE": kind, "RELATIVE_MEDIA_URL": f"./{PurePosixPath(name).name}"}
