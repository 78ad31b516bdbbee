"""Numbers of the data files: each keeps its unit, status and source, and nothing else is accepted."""

from __future__ import annotations

from dataclasses import MISSING, dataclass, fields
from enum import StrEnum
from typing import Any, TypeVar, get_args, get_type_hints

__all__ = ["Constant", "Interval", "Numbers", "Status", "data_error", "quantity", "section"]

T = TypeVar("T")


class Status(StrEnum):
    """Standing of a number."""

    READ = "L"
    SECONDARY = "L2"
    RECALLED = "RV"
    DERIVED = "D"
    ENGINEERING = "E"


@dataclass(frozen=True)
class Constant:
    """One number with its unit, standing and source."""

    value: float
    unit: str
    status: Status
    source: str


@dataclass(frozen=True)
class Interval:
    """A closed range with its unit, standing and source."""

    low: float
    high: float
    unit: str
    status: Status
    source: str

    def excess(self, value: float) -> float:
        """How far `value` lies outside, 0 inside."""
        return max(self.low - value, value - self.high, 0.0)


@dataclass(frozen=True)
class Numbers:
    """An increasing list of numbers with one unit, standing and source."""

    values: tuple[float, ...]
    unit: str
    status: Status
    source: str


def data_error(where: str, what: str) -> ValueError:
    """An error that names the place in a data file."""
    return ValueError(f"data file, {where}: {what}")


def quantity(cls: type[T], table: Any, where: str) -> T:
    """A Constant, Interval or Numbers from ``{value, unit, status, source}``."""
    if not isinstance(table, dict) or set(table) != {"value", "unit", "status", "source"}:
        raise data_error(where, "needs exactly value, unit, status and source")
    unit, source, value = table["unit"], table["source"], table["value"]
    if not all(isinstance(text, str) and text for text in (unit, source)):
        raise data_error(where, "unit and source must be words")
    try:
        status = Status(table["status"])
    except ValueError:
        raise data_error(where, f"status '{table['status']}' is not one of {', '.join(Status)}") from None
    numbers = [float(v) for v in (value if isinstance(value, list) else [value])]
    if numbers != sorted(numbers):
        raise data_error(where, "numbers must increase")
    if cls is Numbers and numbers:
        return cls(tuple(numbers), unit, status, source)  # type: ignore[call-arg]
    if len(numbers) != (2 if cls is Interval else 1):
        raise data_error(where, f"{len(numbers)} numbers do not make a {cls.__name__}")
    return cls(*numbers, unit, status, source)  # type: ignore[call-arg]


def section(cls: type[T], table: Any, where: str) -> T:
    """A dataclass of quantities from a table with exactly its fields; fields with a default may be left out."""
    known = {f.name: f.default is not MISSING for f in fields(cls)}  # type: ignore[arg-type]
    needed = {name for name, optional in known.items() if not optional}
    if not isinstance(table, dict) or not needed <= set(table) <= set(known):
        raise data_error(where, f"needs {', '.join(name for name in known if name in needed)}"
                         + (f", may have {', '.join(name for name in known if name not in needed)}"
                            if len(needed) < len(known) else "") + ", nothing else")
    hints = get_type_hints(cls)
    return cls(**{name: quantity(_plain(hints[name]), table[name], f"{where}.{name}") for name in table})


def _plain(hint: Any) -> Any:
    """The type itself of ``X`` or ``X | None``."""
    return next((part for part in get_args(hint) if part is not type(None)), hint)
