"""Columns of Parquet and Arrow files as NumPy arrays, through pyarrow (pip install pyarrow).

A column is a number for each row, or a list of numbers, of one length in all rows. Sizes are worked out from the
files' own description before anything is decoded, since a few bytes can mean any number of equal values.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tasks import containers
from tasks.validation import BadFile, of_size

#: bytes of a decoded number, at most
WIDEST = 8
#: lists within lists
DEEPEST = 2
REMEDY = "damaged or incomplete?"


def names(path: Path, kind: str) -> list[str]:
    """Names of the columns of a file of this `kind`, Parquet or Arrow."""
    with containers.boundary(path, kind, REMEDY):
        if kind == "Parquet":
            import pyarrow.parquet as parquet

            with parquet.ParquetFile(path) as file:
                return _once(path, file.schema_arrow.names)
        import pyarrow as pa

        with pa.OSFile(str(path)) as stream:
            return _once(path, pa.ipc.open_file(stream).schema.names)


def _once(path: Path, found: list[str]) -> list[str]:
    twice = next((name for name in found if found.count(name) > 1), None) if len(set(found)) < len(found) else None
    if twice is not None:
        raise BadFile(f"{path}: has two columns {twice!r}; expected names that differ")
    return found


def columns(path: Path, kind: str, wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """The columns of these names, `[n]` or `[n, k]`. Raises `BadFile` for what holds no numbers, or misses some."""
    size = containers.plain_file(path)
    with containers.boundary(path, kind, REMEDY):
        table = _parquet(path, size, wanted) if kind == "Parquet" else _ipc(path, size, wanted)
        # an offset or a length that leads elsewhere is found here, before it is followed
        table.validate(full=True)
        return {name: _numbers(path, name, table.column(name)) for name in wanted}


def _parquet(path: Path, size: int, wanted: Sequence[str]) -> Any:
    import pyarrow.parquet as parquet

    with parquet.ParquetFile(path) as file:
        for name in wanted:
            _refuse_other(path, name, file.schema_arrow.field(name).type)
        about = file.metadata
        values = 0
        for group in range(about.num_row_groups):
            rows = about.row_group(group)
            for leaf in range(rows.num_columns):
                if rows.column(leaf).path_in_schema.partition(".")[0] in {name.partition(".")[0] for name in wanted}:
                    values += max(rows.column(leaf).num_values, rows.num_rows, 0)
        of_size(path, WIDEST * values, size)
        return file.read(columns=list(wanted), use_threads=False)


def _ipc(path: Path, size: int, wanted: Sequence[str]) -> Any:
    import pyarrow as pa

    with pa.OSFile(str(path)) as stream:
        file = pa.ipc.open_file(stream, options=pa.ipc.IpcReadOptions(use_threads=False))
        for name in wanted:
            _refuse_other(path, name, file.schema.field(name).type)
        batches, rows = [], 0
        for number in range(file.num_record_batches):
            batch = file.get_batch(number)
            rows += batch.num_rows
            of_size(path, WIDEST * rows * len(wanted), size)
            batches.append(batch.select(list(wanted)))
        chosen = pa.schema([file.schema.field(name) for name in wanted])
        return pa.Table.from_batches(batches, chosen)


def _refuse_other(path: Path, name: str, kind: Any, depth: int = 0) -> None:
    """Numbers, booleans, and lists of these."""
    import pyarrow.types as types

    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        if depth < DEEPEST:
            _refuse_other(path, name, kind.value_type, depth + 1)
            return
    elif types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind):
        return
    raise BadFile(f"{path}: {name} holds {str(kind)[:80]}; expected numbers, or lists of numbers of one length")


def _numbers(path: Path, name: str, column: Any) -> np.ndarray:
    """A column of n rows as `[n]`, or `[n, k]` where its rows are lists."""
    import pyarrow as pa

    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], column.type)
    shape = [len(array)]
    while not pa.types.is_primitive(array.type):
        _refuse_missing(path, name, array)
        inner = array.flatten()
        if pa.types.is_fixed_size_list(array.type):
            width = array.type.list_size
        else:
            lengths = array.value_lengths().to_numpy(zero_copy_only=False)
            width = int(lengths[0]) if len(lengths) else 0
            other = np.flatnonzero(lengths != width)
            if len(other):
                row = int(other[0])
                raise BadFile(f"{path}: {name}[{row}] has {lengths[row]} numbers, the first has {width}")
        shape.append(width)
        array = inner
    _refuse_missing(path, name, array)
    count = int(np.prod(shape, dtype=np.int64))
    if count != len(array):
        raise BadFile(f"{path}: {name} holds {len(array)} numbers in rows of {shape[1:]}; damaged?")
    return array.to_numpy(zero_copy_only=False).reshape(shape)


def _refuse_missing(path: Path, name: str, array: Any) -> None:
    if array.null_count:
        raise BadFile(f"{path}: {name} misses {array.null_count} values; expected one in each row")
