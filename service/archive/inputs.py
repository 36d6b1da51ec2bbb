"""Find the recordings that the inputs of `analyze` name: files, folders, patterns, lists and addresses."""

import glob
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from models.errors import UserError
from models.files import at_home
from service.archive import storage
from service.printable import printable

# What a folder's recordings are recognised by; a file that is named itself may be called anything.
# fmt: off
RECORDINGS = frozenset({
    ".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp",
    ".ogv", ".mxf", ".dv", ".wav", ".mp3", ".m4a", ".flac", ".ogg", ".opus", ".aac", ".wma",
})
# fmt: on
_SOURCES = ("http://", "https://", "rtsp://", "rtsps://", "demo:", "camera:")  # read where they are, not copied
_PATTERN = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Recording:
    """Hold where a recording lies and the name of its result, without suffix, "/" between folders."""

    place: str
    name: str


def is_several(inputs: Sequence[str], out: str) -> bool:
    """Return whether `inputs` are many recordings with a folder of results, and not one with one file."""
    if len(inputs) > 1 or out.endswith("/") or storage.is_address(out) or Path(out).is_dir():
        return True
    return _is_list(inputs[0]) or _is_pattern(inputs[0])


def recordings(inputs: Sequence[str]) -> list[Recording]:
    """Return the recordings that `inputs` name, each once, in their order.

    An input is a file, a folder (all recordings below it), a pattern with * or ?, `@LIST` (a text file with an input a
    line), or an address. Raise `UserError` for a folder, pattern or list without recordings, a list that cannot be
    read, or two recordings whose results would have one name.
    """
    found: dict[str, Recording] = {}
    for text in _listed(inputs):
        for recording in _named(text):
            found.setdefault(recording.place, recording)
    if not found:
        raise UserError(f"{', '.join(map(printable, inputs))}: no recording is listed there; write an input a line")
    return _distinct(list(found.values()))


def is_source(place: str) -> bool:
    """Return whether `place` is a source that capture opens itself, such as an http address."""
    return place.lower().startswith(_SOURCES)


def _listed(inputs: Iterable[str]) -> Iterable[str]:
    for text in inputs:
        if not _is_list(text):
            yield text
            continue
        path = at_home(Path(text[1:]))
        try:
            lines = path.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            why = getattr(error, "strerror", None) or "is no text in UTF-8"
            raise UserError(
                f"{printable(path)}: the list cannot be read ({why}); give a text file, an input a line"
            ) from error
        for line in lines:
            name = line.strip()
            if name and not name.startswith("#"):  # relative to the list, as includes are
                yield name if storage.is_address(name) or is_source(name) else str(path.parent / at_home(Path(name)))


def _named(text: str) -> list[Recording]:
    if is_source(text):
        stem = PurePosixPath(text.partition("?")[0].rstrip("/")).stem or "recording"
        return [Recording(text, printable(stem.replace(":", "")))]
    if storage.is_address(text):
        return _at_address(text)
    path = at_home(Path(text))
    if path.is_dir():
        return _below(path, sorted(found for found in path.rglob("*") if found.is_file()))
    if _is_pattern(text):
        matches = sorted(Path(found) for found in glob.glob(str(path), recursive=True))
        files = [found for found in matches if found.is_file()]
        inner = [one for found in matches if found.is_dir() for one in _named(str(found))]
        if not files and not inner:
            raise UserError(f"{printable(text)}: no file has such a name; check the pattern")
        return [Recording(str(found), printable(found.stem)) for found in files] + inner
    return [Recording(str(path), printable(path.stem))]


def _below(folder: Path, files: Sequence[Path]) -> list[Recording]:
    found = [
        Recording(str(file), printable(file.relative_to(folder).with_suffix("").as_posix()))
        for file in files
        if file.suffix.lower() in RECORDINGS
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    ]
    if not found:
        raise UserError(
            f"{printable(folder)}: no recordings in this folder; {', '.join(sorted(RECORDINGS))} are read "
            "(a folder of pictures needs --out FILE)"
        )
    return found


def _at_address(text: str) -> list[Recording]:
    if _is_pattern(text):
        base = text[: min(text.index(mark) for mark in _PATTERN if mark in text)].rpartition("/")[0]
        places = storage.below(base, text[len(base) + 1 :])
    elif storage.is_folder(text):
        base = text.rstrip("/")
        places = [place for place in storage.below(base) if PurePosixPath(place).suffix.lower() in RECORDINGS]
    else:
        return [Recording(text, printable(PurePosixPath(text).stem))]
    if not places:
        raise UserError(f"{storage.shown(text)}: no recordings there; check the address")
    return [Recording(place, printable(str(PurePosixPath(place[len(base) + 1 :]).with_suffix("")))) for place in places]


def _distinct(found: list[Recording]) -> list[Recording]:
    """Return `found` where recordings that share a name keep the suffix of their file in it."""
    times = Counter(one.name for one in found)
    named = [
        one if times[one.name] == 1 else Recording(one.place, one.name + PurePosixPath(one.place).suffix)
        for one in found
    ]
    taken: dict[str, str] = {}
    for one in named:
        if one.name in taken:
            raise UserError(
                f"{printable(taken[one.name])} and {printable(one.place)} would have one result, {one.name}; "
                "rename one of them, or give the folder that holds both"
            )
        taken[one.name] = one.place
    return named


def _is_list(text: str) -> bool:
    return text.startswith("@") and not Path(text).exists()


def _is_pattern(text: str) -> bool:
    return bool(_PATTERN & set(text)) and not is_source(text) and not Path(text).exists()
