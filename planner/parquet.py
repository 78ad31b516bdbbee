"""Tables as Parquet beside CSV: the same rows with typed columns (extra ``batch``)."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from imaging.errors import UsageError

__all__ = ["write_parquet"]

_WHOLE = frozenset({"exit_code", "targets", "planned", "missing", "gauge", "rank", "needle_number"})
_TRUTH = frozenset({"margins_met", "chosen"})
_REAL = frozenset({"confidence", "seconds", "primary_deg", "secondary_deg"})
_REAL_ENDINGS = ("_mm", "_mb", "_deg", "_x", "_y", "_z")


def _kind(arrow: Any, column: str) -> Any:
    if column in _WHOLE:
        return arrow.int64()
    if column in _TRUTH:
        return arrow.bool_()
    if column in _REAL or column.endswith(_REAL_ENDINGS):
        return arrow.float64()
    return arrow.string()


def write_parquet(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, object]], mode: int = 0o644) -> None:
    """Write rows beside their place and rename them there; an empty cell is null.

    Text is written as it is: unlike in a spreadsheet, nothing in it runs.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError as error:
        raise UsageError("tables need the extra 'batch': pip install 'nerveplan[batch]'") from error
    held = list(rows)
    schema = arrow.schema([(column, _kind(arrow, column)) for column in columns])
    table = arrow.table({column: arrow.array([row.get(column) for row in held], type=schema.field(column).type)
                         for column in columns}, schema=schema)
    fresh = path.with_name(f".{path.name}.{os.getpid()}")
    os.close(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode))
    parquet.write_table(table, fresh)
    os.replace(fresh, path)
