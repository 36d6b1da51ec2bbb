"""Where recordings and results lie: paths of this machine, and addresses such as s3://BUCKET/FOLDER.

Addresses are those of pyarrow (s3, gs, abfs, hdfs, file) and, where fsspec is installed, of every file system that
it knows. A recording at an address is copied into the temporary folder for as long as it is read, because containers
are read back and forth.
"""

import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath
from typing import Any

from models.errors import UserError
from models.files import beside, written_whole
from service.printable import printable

_USER = re.compile(r"(?<=://)[^/@]*@")
_CHUNK = 1 << 22  # bytes


def is_address(text: str) -> bool:
    """Return whether `text` is an address, and not a path of this machine."""
    return "://" in text


def shown(text: str) -> str:
    """Return an address without its user and password, for people, manifests and logs."""
    return _USER.sub("", text)


def join(folder: str, name: str) -> str:
    """Return the address or path of `name` (with "/") in `folder`."""
    return f"{folder.rstrip('/')}/{name}" if is_address(folder) else str(Path(folder) / name)


def exists(place: str) -> bool:
    """Return whether there is a file at `place`. Raise `UserError` if that cannot be found out."""
    return facts(place) is not None


def facts(place: str) -> tuple[int, float | None] | None:
    """Return a file's size in bytes and its time of change in Unix seconds (None if unknown); None without a file."""
    if not is_address(place):
        try:
            found = Path(place).stat()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise UserError(f"{place} cannot be read: {error.strerror}") from error
        return found.st_size, found.st_mtime
    with _told(place):
        files, path = _files(place)
        info = files.get_file_info(path)
        return (info.size, info.mtime_ns / 1e9 if info.mtime_ns else None) if info.is_file else None


def read_text(place: str) -> str | None:
    """Return the text of the file at `place`; None if there is none. Raise `UserError` if it cannot be read.

    Bytes that are not UTF-8, as of a damaged file, are replaced.
    """
    if facts(place) is None:
        return None
    if not is_address(place):
        return Path(place).read_text("utf-8", "replace")
    with _told(place):
        files, path = _files(place)
        with files.open_input_stream(path) as file:
            return bytes(file.read()).decode("utf-8", "replace")


def write(local: Path, place: str) -> None:
    """Copy the file `local` to `place`, making the folder. Raise `UserError` if it cannot be written."""
    if not is_address(place):
        try:
            with written_whole(Path(place)) as aside:
                shutil.copyfile(local, aside)
        except OSError as error:
            raise UserError(f"{place}: cannot be written ({error.strerror}); make room and run again") from error
        return
    with _told(place):
        files, path = _files(place)
        files.create_dir(str(PurePosixPath(path).parent), recursive=True)
        with local.open("rb") as source, files.open_output_stream(path) as sink:
            shutil.copyfileobj(source, sink, _CHUNK)


def check_writable(folder: str) -> None:
    """Raise `UserError` if no file can be written into the local `folder`, which is made if it is missing."""
    if is_address(folder):
        return
    try:
        with beside(Path(folder) / "result"):
            pass
    except OSError as error:
        raise UserError(
            f"{printable(folder)}: cannot be written ({error.strerror}); give the results another place"
        ) from error


def remove(place: str) -> None:
    """Remove the file at `place` if there is one. Raise `UserError` if it cannot be removed."""
    if facts(place) is None:
        return
    if not is_address(place):
        Path(place).unlink(missing_ok=True)
        return
    with _told(place):
        files, path = _files(place)
        files.delete_file(path)


@contextmanager
def on_this_machine(place: str) -> Iterator[Path]:
    """Yield the path of the file at `place`, which is a copy, removed afterwards, if it lies at an address.

    Raise `UserError` if there is none, or it cannot be read.
    """
    if not is_address(place):
        yield Path(place)
        return
    if facts(place) is None:
        raise UserError(f"There is no file {shown(place)}; check the address.")
    with tempfile.TemporaryDirectory(prefix="affectstream-") as folder:
        with _told(place):
            files, path = _files(place)
            copy = Path(folder) / PurePosixPath(path).name
            with files.open_input_stream(path) as source, copy.open("wb") as sink:
                shutil.copyfileobj(source, sink, _CHUNK)
        yield copy


def below(folder: str, pattern: str = "*") -> list[str]:
    """Return the addresses of all files in `folder` and its folders whose name or relative path fits `pattern`."""
    from pyarrow.fs import FileSelector

    with _told(folder):
        files, path = _files(folder)
        found = files.get_file_info(FileSelector(path, recursive=True, allow_not_found=True))
    base = folder.rstrip("/")
    inner = sorted(info.path[len(path.rstrip("/")) :].lstrip("/") for info in found if info.is_file)
    return [f"{base}/{name}" for name in inner if fnmatch(name, pattern)]


def is_folder(place: str) -> bool:
    """Return whether there is a folder at `place`."""
    if not is_address(place):
        return Path(place).is_dir()
    from pyarrow.fs import FileType

    with _told(place):
        files, path = _files(place)
        return bool(files.get_file_info(path).type == FileType.Directory)


def _files(address: str) -> tuple[Any, str]:
    """Return the file system of an address, in pyarrow's terms, and the path in it."""
    from pyarrow import ArrowInvalid, fs

    try:
        files, path = fs.FileSystem.from_uri(address)
        return files, path
    except ArrowInvalid as error:
        unknown = str(error)
    try:
        import fsspec
    except ImportError:
        raise UserError(
            f"{shown(address)}: pyarrow does not know this kind of address ({unknown}); "
            "pip install fsspec and the file system's own package"
        ) from None
    try:
        found, path = fsspec.core.url_to_fs(address)
    except (ValueError, ImportError) as error:  # the protocol is unknown, or its package is missing
        raise UserError(f"{shown(address)}: {error}") from error
    return fs.PyFileSystem(fs.FSSpecHandler(found)), path


@contextmanager
def _told(place: str) -> Iterator[None]:
    """Raise `UserError` with the address for whatever a file system raises inside the block."""
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # each file system has errors of its own
        why = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f"{shown(place)}: {why}") from error
