"""Opening files of data without believing them: HDF5, npz and JSON, each behind one boundary.

Whatever a library raises about a file becomes a `BadFile` of one line. A file must be a plain file (a pipe would wait
for ever). In HDF5, links to elsewhere, storage in other files and virtual data sets are refused, as they read what the
user did not name; sizes are compared with the file and the memory before anything is allocated. Nothing is unpickled.
"""

from __future__ import annotations

import contextlib
import json
import stat
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from core.options import OptionError, first_line
from tasks.validation import BadFile, of_size

#: of a JSON file that describes data
LARGEST_JSON = 16 << 20
#: package that no other task needs -> how it is installed
EXTRAS = {"pyarrow": "pip install pyarrow"}
#: groups within groups
DEEPEST = 16
REMEDY = "damaged or incomplete? delete it to fetch it again"


def plain_file(path: Path) -> int:
    """The size of a plain file in bytes. Raises `BadFile` where it is none, or is not there."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            kind = "a directory" if stat.S_ISDIR(status.st_mode) else "no plain file"
            raise BadFile(f"{path}: is {kind}, expected a file of data")
        with path.open("rb"):
            return status.st_size
    except (OSError, ValueError) as error:
        raise BadFile(f"{path}: cannot be read ({getattr(error, 'strerror', None) or first_line(error)})") from None


@contextlib.contextmanager
def boundary(path: Any, kind: str, remedy: str = REMEDY) -> Iterator[None]:
    """Whatever a library raises inside about the file becomes one line; what already is one passes."""
    try:
        yield
    except (OptionError, KeyboardInterrupt):
        raise
    except ImportError as error:
        package = (error.name or "a package").partition(".")[0]
        command = EXTRAS.get(package, "pip install -r requirements-tasks.txt")
        raise OptionError(f"{path}: reading it needs {package}; {command}") from None
    except MemoryError:
        raise BadFile(f"{path}: does not fit this machine's memory") from None
    except Exception as error:  # which ones depends on the library, its version, and the damage
        reason = getattr(error, "strerror", None) or first_line(error)
        raise BadFile(f"{path}: cannot be read as {kind} ({reason[:200]}); {remedy}") from None


@contextlib.contextmanager
def hdf5(path: Path) -> Iterator[Any]:
    """An HDF5 file, open for reading, all that is in it its own. Raises `BadFile` for what is not."""
    size = plain_file(path)
    with boundary(path, "HDF5"):
        import h5py

        with h5py.File(path, "r") as file:
            of_size(path, _declared(path, file), size)
            yield file


def _declared(path: Path, file: Any) -> int:
    """Bytes of all data sets in the file, each of which holds its own numbers."""
    import h5py

    total, left, seen = 0, [("", file, 0)], set()
    while left:
        name, group, depth = left.pop()
        for key in group:
            place = f"{name}/{key}".lstrip("/")
            if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                raise BadFile(f"{path}: {place} is a link to elsewhere; expected the data themselves (SECURITY.md)")
            item = group[key]
            if isinstance(item, h5py.Dataset):
                total += _bytes(path, place, item)
            elif isinstance(item, h5py.Group):
                address = h5py.h5o.get_info(item.id).addr
                if depth >= DEEPEST or address in seen:
                    raise BadFile(f"{path}: {place} nests its groups too deeply, or in a circle")
                seen.add(address)
                left.append((place, item, depth + 1))
    return total


def _bytes(path: Path, place: str, item: Any) -> int:
    if item.is_virtual or item.external:
        raise BadFile(f"{path}: {place} keeps its data in other files; expected the data themselves (SECURITY.md)")
    return int(item.size or 0) * item.dtype.itemsize


def npz(path: Path, keys: Callable[[str], bool] = lambda key: True) -> dict[str, np.ndarray]:
    """The arrays of a npz file whose names satisfy `keys`. Raises `BadFile` for what is not one."""
    size = plain_file(path)
    with boundary(path, "npz", "damaged? delete it to fetch it again"):
        if not zipfile.is_zipfile(path):
            raise ValueError("not a zip archive")
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            wanted = {key: info for key, info in members.items() if keys(key)}
            of_size(path, sum(info.file_size for info in wanted.values()), size)
            return {key: _array(path, key, archive, info) for key, info in wanted.items()}


def names_in_npz(path: Path) -> list[str]:
    """Names of the arrays in a npz file."""
    plain_file(path)
    with boundary(path, "npz"), zipfile.ZipFile(path) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def _array(path: Path, key: str, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """One array; its header is compared with what is there, since NumPy allocates what it says."""
    with archive.open(info) as stream:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(stream)
        if dtype.hasobject:
            raise BadFile(f"{path}: {key} holds Python objects, which would have to be unpickled; expected numbers")
        count = 1
        for axis in shape:
            count *= int(axis)
        if count * dtype.itemsize > info.file_size:
            raise BadFile(f"{path}: {key} declares shape {shape} and holds less; damaged?")
    with archive.open(info) as stream:
        return np.lib.format.read_array(stream, allow_pickle=False)


def json_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object. Raises `BadFile` for what is none."""
    if plain_file(path) > LARGEST_JSON:
        raise BadFile(f"{path}: is larger than {LARGEST_JSON >> 20} MiB; expected a short description")
    with boundary(path, "JSON"):
        told = json.loads(path.read_bytes())
        if not isinstance(told, dict):
            raise ValueError(f"it holds a {type(told).__name__}, expected an object")
        return told
