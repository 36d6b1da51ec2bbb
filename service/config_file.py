"""`affectstream.toml`: the settings file, with the names of the settings, and files that hold one secret each."""

import difflib
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from models.errors import UserError
from service.printable import printable

NAME = "affectstream.toml"
VARIABLE = "AFFECTSTREAM_CONFIG"


@dataclass(frozen=True)
class ConfigFile:
    """Hold what a settings file says; no path and no values where there is none."""

    path: Path | None = None
    values: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """Return the file's path for sentences."""
        return str(self.path)


def read_config(given: Path | None, known: Collection[str]) -> ConfigFile:
    """Return the settings file `given`, else that of AFFECTSTREAM_CONFIG, else the one here, if there is one.

    Raise `UserError` for a file that cannot be read, is not TOML, or has a key that is not among the names `known`.
    """
    named = given or (Path(text) if (text := os.environ.get(VARIABLE, "").strip()) else None)
    path = named or Path(NAME)
    if named is None and not path.is_file():
        return ConfigFile()
    shown = printable(path)
    try:
        read = tomllib.loads(path.read_text("utf-8-sig"))  # Windows editors write a byte order mark
    except OSError as error:
        raise UserError(f"the settings file {shown} cannot be read ({error.strerror}); give one by --config") from None
    except UnicodeDecodeError:
        raise UserError(f"the settings file {shown} is not UTF-8 text; write it as TOML, such as port = 8000") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UserError(
            f"the settings file {shown} is not TOML ({error}); write each setting as NAME = VALUE, and texts in quotes"
        ) from None
    return ConfigFile(path, _named(read, shown, known))


def _named(read: Mapping[str, Any], file: str, known: Collection[str]) -> dict[str, Any]:
    """Return the values by the settings' names, which a file may also write with hyphens, as options do."""
    values: dict[str, Any] = {}
    for key, value in read.items():
        name = key.replace("-", "_")
        if name not in known:
            (nearest,) = difflib.get_close_matches(name, known, 1, 0.0)
            raise UserError(f"{file}: the key {key!r} is not known; did you mean {nearest}?")
        if name in values:
            raise UserError(f"{file}: {name} is set twice, with a hyphen and with an underscore; leave one out")
        values[name] = value
    return values


def read_secret(path: Path, name: str) -> str:
    """Return the text of a file that holds the secret `name`, without blanks around it.

    Raise `UserError` for one that cannot be read or is empty.
    """
    given = f"--{name.replace('_', '-')}-file {printable(path)}"
    try:
        text = path.read_text("utf-8-sig").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8 text"
        raise UserError(f"{given} cannot be read ({reason}); give a file that holds the secret alone") from None
    if not text:
        raise UserError(f"{given} is empty; write the secret into it")
    return text
