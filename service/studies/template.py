"""The file that `study init` writes: an example to change, or the recordings that were named."""

import shlex
from collections.abc import Collection, Sequence
from pathlib import Path

from models.errors import UserError
from models.files import write_text
from service.archive import storage
from service.archive.inputs import recordings
from service.printable import printable
from service.studies.study import DEFAULT, ENGINE

SUFFIX = ".toml"

_HEAD = """# A study for `affectstream study run {file}`. Relative paths begin at this file's folder; times are seconds.

[study]
name = {name}
results = "results"             # folder or address of the tables and the report

[options]                       # those of `affectstream analyze`
model = "face-mt"
engine = "{engine}"        # a fixed precision gives the same numbers on every machine
# fps = 10                      # events a second; left out: one for each frame
# smoothing = "off"             # values as the model gives them; or "normal" (so unless it is given), "strong"
# gaze = true                   # also where faces look
# voice = false                 # read faces alone
"""
_EXAMPLE = """
[[participant]]
id = "p01"

[[participant]]
id = "p02"

[[recording]]
video = "p01_calm.mp4"
participant = "p01"
condition = "calm"
# start = 5.0                   # read a part of it only
# end = 60.0
# markers = "p01_calm.csv"      # columns label and time; or a list: [{ label = "question", time = 12.5 }]
# [[recording.stimulus]]        # a stretch with a label, and a condition of its own if it has one
# label = "film A"
# start = 10.0
# end = 40.0
# condition = "film"
"""


def file_and_inputs(names: Sequence[str]) -> tuple[Path, list[str]]:
    """Return the study's file and the recordings among the arguments of `study init`.

    The file is the one whose name ends in .toml, and study.toml in this folder if there is none among them. Raise
    `UserError` for a second one.
    """
    files = [name for name in names if name.lower().endswith(SUFFIX)]
    if len(files) > 1:
        raise UserError(f"{files[0]} and {files[1]} are two files of a study; init writes one")
    return Path(files[0] if files else DEFAULT), [name for name in names if name not in files]


def write_template(path: Path, inputs: Sequence[str]) -> str:
    """Write a study to `path` and return a sentence on what it lists: the recordings of `inputs`, or else an example.

    From a name such as p01_calm.mp4 the participant (p01) and the condition (calm) are taken; otherwise every recording
    is of p01, without a condition. Raise `UserError` if the file is there already, cannot be written, or an input names
    no recording.
    """
    if path.exists():
        raise UserError(f"{path}: is there already; change it, or give another name that ends in {SUFFIX}")
    found = recordings(inputs) if inputs else []
    for one in found:
        if not storage.exists(one.place):
            raise UserError(
                f"{printable(one.place)}: there is no such recording; give files, folders or a pattern such as "
                f"'videos/*.mp4' (the study's own file ends in {SUFFIX})"
            )
    text = _HEAD.format(
        file=shlex.quote(path.name), name=_quoted(path.absolute().parent.name or "study"), engine=ENGINE
    )
    if not found:
        text += _EXAMPLE
    named = [(one, *_guess(one.name)) for one in found]
    for participant in dict.fromkeys(who for _, who, _ in named):
        text += f"\n[[participant]]\nid = {_quoted(participant)}\n"
    for one, participant, condition in named:
        video = one.place if storage.is_address(one.place) else _from(path.parent, Path(one.place))
        text += (
            f"\n[[recording]]\nvideo = {_quoted(video)}\nname = {_quoted(one.name)}\n"
            f"participant = {_quoted(participant)}\ncondition = {_quoted(condition)}\n"
        )
    try:
        write_text(path, text)
    except OSError as error:
        raise UserError(f"{path}: cannot be written ({error.strerror})") from error
    return _said(path, [(who, condition) for _, who, condition in named])


def _said(path: Path, listed: Sequence[tuple[str, str]]) -> str:
    """Return what the file `path` holds and what to do next; `listed` are participant and condition of recordings."""
    then = f"then: affectstream study run {shlex.quote(str(path))}"
    if not listed:
        return f"{path} is an example; change it, {then}"
    people, conditions = ({*one} for one in zip(*listed, strict=True))
    named = ", ".join(sorted(conditions - {""})) or "none"
    return (
        f"{path} lists {_count(listed, 'recording')} of {_count(people, 'participant')}; "
        f"conditions: {named}; check them, {then}"
    )


def _count(things: Collection[object], name: str) -> str:
    return f"{len(things)} {name}{'s' if len(things) != 1 else ''}"


def _guess(name: str) -> tuple[str, str]:
    """Return participant and condition as the name of a recording has them."""
    participant, _, condition = name.rpartition("/")[2].partition("_")
    return (participant, condition) if condition else ("p01", "")


def _from(folder: Path, file: Path) -> str:
    """Return `file` relative to `folder` where it lies below it, else absolute."""
    absolute = file.absolute()
    base = folder.absolute()
    return absolute.relative_to(base).as_posix() if absolute.is_relative_to(base) else absolute.as_posix()


def _quoted(text: str) -> str:
    """Return a TOML string. Raise `UserError` for a file's name that is not UTF-8, which TOML cannot hold."""
    kept = text.replace("\\", "\\\\").replace('"', '\\"')
    try:
        kept.encode()
    except UnicodeEncodeError:
        raise UserError(f"{printable(text)}: the name is not UTF-8, as a study's file is; rename it") from None
    return '"' + "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in kept) + '"'
