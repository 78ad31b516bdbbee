"""The operator's word on levels: ``LLV-1=L4`` renames the whole chain and is recorded as a statement."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from imaging.errors import UsageError
from imaging.findings import Finding, FindingCode, Severity
from segmentation.anatomy import VERSE_LABEL, Level, is_relative
from segmentation.constants import constants
from segmentation.label_checks import bones_touch
from segmentation.spine import Alternate, Numbering, NumberingStatus, Segmentation

__all__ = ["LevelStatement", "apply_statements", "parse_statement", "stated_names"]

_V = TypeVar("_V")
_STANDARD: tuple[Level, ...] = tuple(level for level in Level if level not in (Level.T13, Level.L6, Level.S1))
_NAMES = frozenset(level.value for level in Level if level is not Level.S1)
_ON_SACRUM = (Level.L4, Level.L5, Level.L6)
_FORM = re.compile(r"^\s*([A-Za-z0-9-]+)\s*=\s*([A-Za-z][0-9]{1,2})\s*$")


@dataclass(frozen=True)
class LevelStatement:
    """The vertebra found as `found` is, in the operator's word, `level`."""

    found: str
    level: Level

    def __str__(self) -> str:
        return f"{self.found}={self.level.value}"


def parse_statement(text: str) -> LevelStatement:
    """Read ``LLV-1=L4`` or ``L5=L4``; anything else is a UsageError."""
    match = _FORM.match(text)
    level = match.group(2).upper() if match else ""
    if match is None or level not in _NAMES:
        raise UsageError(f"'{text}' does not state a level; write the vertebra as found and its level, such as "
                         "LLV-1=L4 (the sacrum is always S1)")
    return LevelStatement(match.group(1).upper(), Level(level))


def _chain(levels: Mapping[int, str]) -> tuple[str, ...]:
    """The presacral vertebrae from head to foot."""
    names = [name for name in levels.values() if name != Level.S1]
    if any(is_relative(name) for name in names):
        return tuple(sorted(names, key=lambda name: -int(name.rpartition("-")[2])))
    order = [level.value for level in Level]
    return tuple(sorted(names, key=order.index))


def _order(statements: tuple[LevelStatement, ...], with_l6: bool) -> tuple[Level, ...]:
    said = {statement.level for statement in statements}
    order: list[Level] = list(_STANDARD)
    if Level.T13 in said:
        order.insert(order.index(Level.L1), Level.T13)
    if with_l6 or Level.L6 in said:
        order.append(Level.L6)
    return tuple(order)


def stated_names(levels: Mapping[int, str], statements: tuple[LevelStatement, ...]) -> dict[str, Level]:
    """What every vertebra but the sacrum is called by these statements, from head to foot.

    Parameters
    ----------
    levels : mapping of label value to name
        As found.

    Raises
    ------
    UsageError
        A statement does not fit what was found; says why.
    """
    chain = _chain(levels)
    order = _order(statements, with_l6=False)
    offsets = set()
    for statement in statements:
        if statement.found not in chain:
            raise UsageError(f"'{statement}': there is no vertebra {statement.found}; found were "
                             f"{', '.join(chain) or 'none'}")
        offsets.add(order.index(statement.level) - chain.index(statement.found))
    if len(offsets) > 1:
        raise UsageError(f"the statements {', '.join(map(str, statements))} contradict each other: "
                         "they do not lie as many levels apart as the vertebrae do")
    first = offsets.pop()
    last = first + len(chain) - 1
    if last == len(order) and Level.L6 not in order:
        order = _order(statements, with_l6=True)
    if first < 0 or last >= len(order):
        raise UsageError(f"'{statements[0]}' leaves no name for {chain[0] if first < 0 else chain[-1]}: "
                         f"the chain of {len(chain)} vertebrae would run past {'C1' if first < 0 else order[-1].value}")
    return {name: order[first + n] for n, name in enumerate(chain)}


def _renamed(values: Mapping[str, _V], names: Mapping[str, str]) -> dict[str, _V]:
    return {names.get(name, name): value for name, value in values.items()}


def apply_statements(segmentation: Segmentation, statements: tuple[LevelStatement, ...]) -> Segmentation:
    """Rename the chain as the operator says.

    Neighbours follow, the sacrum stays S1, and the label map takes VerSe numbers. What the engine thought stays
    readable in the evidence and among the alternates. A person's word is not a measurement: its confidence has a cap,
    and is no more than what the engine's own reading leaves where the two contradict each other.

    Raises
    ------
    UsageError
        A statement does not fit what was found, or puts an upper lumbar or thoracic vertebra directly on the sacrum.
    """
    if not statements:
        return segmentation
    new: dict[str, Level] = stated_names(segmentation.levels, statements)
    _check_on_sacrum(segmentation, new, statements)
    names = {old: level.value for old, level in new.items()}
    said = ", ".join(map(str, statements))
    table = np.zeros(256, dtype=np.uint8)
    levels: dict[int, str] = {}
    for value, old in segmentation.levels.items():
        level = Level(names.get(old, old))
        table[value] = VERSE_LABEL[level]
        levels[VERSE_LABEL[level]] = level.value
    evidence = {names.get(old, old): (f"stated by the operator: {said}", *_engine_view(segmentation, old))
                for old in segmentation.levels.values()}
    finding = Finding(FindingCode.LEVEL_STATED_BY_OPERATOR, Severity.WARNING,
                      f"The levels are the operator's word ({said}), not established from the images; verify them."
                      + _contradiction(segmentation, names))
    views = {names.get(old, old): _stated_view(segmentation, old, names.get(old, old))
             for old in segmentation.levels.values()}
    return replace(
        segmentation, labels=table[segmentation.labels], levels=levels,
        numbering=Numbering(segmentation.numbering.tier, NumberingStatus.NAMED, said),
        confidence={name: confidence for name, (confidence, _) in views.items()},
        alternates={name: others for name, (_, others) in views.items()}, evidence=evidence,
        sacralised=_renamed(segmentation.sacralised, names),
        findings=(*(f for f in segmentation.findings if f.code is not FindingCode.LEVEL_UNKNOWN), finding))


def _engine_view(segmentation: Segmentation, old: str) -> tuple[str, ...]:
    """What the engine itself thought of a vertebra, kept as evidence."""
    confidence = segmentation.confidence.get(old)
    view = () if confidence is None else (f"found as {old} with confidence {confidence:.2f}",)
    return (*view, *segmentation.evidence.get(old, ()))


def _check_on_sacrum(segmentation: Segmentation, new: Mapping[str, Level],
                     statements: Sequence[LevelStatement]) -> None:
    """Refuse a statement by which a vertebra that never does lies directly on the sacrum."""
    chain = _chain(segmentation.levels)
    value = {name: number for number, name in segmentation.levels.items()}
    if Level.S1 not in value or not chain or new[chain[-1]] in _ON_SACRUM:
        return
    if bones_touch(segmentation.labels, segmentation.grid, value[chain[-1]], value[Level.S1]):
        raise UsageError(f"'{statements[0]}' puts {new[chain[-1]].value} directly on the sacrum, where only "
                         f"{', '.join(_ON_SACRUM)} can lie; check the statement, or plan without it")


def _contradiction(segmentation: Segmentation, names: Mapping[str, str]) -> str:
    """A sentence on what the images say where they named the vertebrae otherwise; empty where they did not."""
    other = [(old, new) for old, new in names.items() if old != new and not is_relative(old)]
    if not other:
        return ""
    old, new = other[-1]
    signs = "; ".join(segmentation.evidence.get(old, ())) or "no evidence given"
    return (f" They contradict the images: {new} was found as {old} with probability "
            f"{segmentation.confidence.get(old, 0.0):.2f} ({signs}).")


def _stated_view(segmentation: Segmentation, old: str, new: str) -> tuple[float, tuple[Alternate, ...]]:
    """Confidence in a stated name, and every other reading of that vertebra, the engine's own first."""
    own = float(segmentation.confidence.get(old, 0.0))
    alternates = segmentation.alternates.get(old, ())
    if new == old:
        return own, alternates
    cap = float(constants("label_schemes")["confidence"]["stated"])
    if not is_relative(old):
        confidence = round(min(cap, 1.0 - own), 3)
        return confidence, (Alternate(old, own), *(a for a in alternates if a.level not in (old, new)))
    others = [a for a in alternates if a.level != new]
    share = min((1.0 - cap) / max(sum(a.p for a in others), 1e-9), 1.0)
    return cap, tuple(Alternate(a.level, round(share * a.p, 3)) for a in others)
