"""The shape of a procedure file: frozen dataclasses whose every number keeps its unit, status and source.

A file is valid when it parses: unknown or missing keys, a number without a source, an unknown status, structure or
nerve are all refused with the place named.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

from segmentation.anatomy import Nerve, StructureName, parse_joint
from segmentation.spine import Structure
from targeting.constants import Constant, Interval, Numbers, Status, data_error, quantity, section
from targeting.model import Needle
from targeting.procedures.sites import SITE_RULES, SUPERIOR_NERVES, Quadrant, Site, SiteRule

__all__ = [
    "AngleBand", "Capture", "Electrode", "Generator", "Procedure", "ProcedureKind", "Reach", "SearchRule",
    "SecondNeedle", "Statement", "StockNeedle", "TargetRule", "TipRule", "UnlabelledBone", "parse_procedure",
]


class ProcedureKind(StrEnum):
    """What the needle does at the target."""

    BLOCK = "block"
    RF = "rf"
    CRYO = "cryo"
    INJECTION = "injection"
    ABLATION = "ablation"
    STIMULATION = "stimulation"


@dataclass(frozen=True)
class TargetRule:
    """Checks of a target before it is searched for.

    Attributes
    ----------
    off_bone, along_course, from_junction, from_groove : Constant
        Largest distance of the course from its carrier, of a target from N along the course and in space, of the L5 DR
        to either side of the groove, mm.
    groove_neck, groove_aim : Interval, Constant
        Part of the groove beside the neck of the S1 articular process that the L5 DR's target may lie in, 0 ventral to
        1 dorsal, and the place aimed at.
    along_sigma : Constant
        Uncertainty along the course, mm.
    landmark_sigma : Constant
        What the course's and that sigma hold for an unknown landmark error, mm; the landmarks' own takes its place.
    wide, low_confidence : Constant
        Less than 95 % within `wide` mm, or a cut vertebra, lowers the confidence to `low_confidence`.
    """

    off_bone: Constant
    along_course: Constant
    from_junction: Constant
    from_groove: Constant
    groove_neck: Interval
    groove_aim: Constant
    along_sigma: Constant
    landmark_sigma: Constant
    wide: Constant
    low_confidence: Constant


@dataclass(frozen=True)
class UnlabelledBone:
    """What counts as bone in a CT beyond the labels: denser, farther off and larger than these."""

    density: Constant
    gap: Constant
    volume: Constant


@dataclass(frozen=True)
class AngleBand:
    """Needle angles against the squared endplate, degrees; `limit` is hard, `usual` is preferred and reported."""

    oblique_limit: Interval
    oblique_usual: Interval
    oblique_preferred: Constant
    tilt_limit: Interval
    tilt_usual: Interval
    tilt_preferred: Constant


@dataclass(frozen=True)
class Reach:
    """Length that must be left outside the skin, mm: the hard minimum and what is asked for by default."""

    reserve_hard: Constant
    reserve: Constant


@dataclass(frozen=True)
class TipRule:
    """Where the end of the needle may lie.

    Attributes
    ----------
    zone : Constant
        Last part of the needle that may touch bone, mm.
    bone_gap, bone_overlap : Constant
        Largest distance of the tip from the bone, and largest overlap of needle and bone in the zone, mm.
    to_target : Constant
        Largest distance of the tip from the target's position, mm.
    ventral_gap : Constant
        Least distance of the tip behind the posterior wall of the foramen, mm; only where a nerve's neck is aimed at.
    to_nerve : Constant or None
        Largest distance of the tip from the modelled nerve, mm; None where reaching the target's position is enough.
    depth : Constant or None
        Least length from the skin to the tip, mm; None where any depth serves.
    seen_density, seen_ahead : Constant or None
        Where the tip rests on bone: the scan itself must show matter of this density, HU, at most so far ahead of the
        tip, mm; None where no bone stops the tip.
    """

    zone: Constant
    bone_gap: Constant
    bone_overlap: Constant
    to_target: Constant
    ventral_gap: Constant | None = None
    to_nerve: Constant | None = None
    depth: Constant | None = None
    seen_density: Constant | None = None
    seen_ahead: Constant | None = None


@dataclass(frozen=True)
class Electrode:
    """How an active tip lies along the nerve (radiofrequency only).

    Attributes
    ----------
    neck, neck_l5 : Interval
        Part of the neck of the superior articular process to cover, 0 ventral to 1 dorsal; the second for the L5 DR.
    hot_radius, hot_distal : Constant
        Half-width of the 50 C zone about the axis and its reach beyond the tip, mm; no spinal nerve inside.
    warm_radius, warm_distal : Constant
        The 45 C zone with its allowance, mm; reported when a spinal nerve lies inside.
    lesion_ahead : Constant or None
        A near-spherical lesion about a point this far beyond the tip, mm: the zones are then balls about that point,
        and the nerve is measured from it. None for a lesion along the active tip.
    """

    active_depth: Constant
    parallel_limit: Constant
    parallel_goal: Constant
    neck: Interval
    neck_l5: Interval
    tip_neck: Constant
    tip_neck_warn: Constant
    contact: Constant
    contact_share: Constant
    nerve_gap: Constant
    captured_goal: Constant
    hot_radius: Constant
    hot_distal: Constant
    warm_radius: Constant
    warm_distal: Constant
    lesion_ahead: Constant | None = None

    @property
    def hot_words(self) -> str:
        """The zone that no spinal nerve may lie in."""
        return "50 C zone" if self.lesion_ahead is None else "45 C zone and its allowance"


@dataclass(frozen=True)
class Generator:
    """Set temperature, degrees Celsius, and how long it is held, s (radiofrequency only)."""

    temperature: Constant
    seconds: Constant


@dataclass(frozen=True)
class SecondNeedle:
    """When a second lesion is offered, and where (radiofrequency only).

    Attributes
    ----------
    capture_goal, placement_sigma : Constant
        A needle that catches the nerve with less than this probability at this placement error, mm, gets a second one.
    spacing : Constant
        Distance between the two parallel axes, mm.
    alike : Constant
        Largest difference between their clearances to any structure, mm: one figure is told for both.
    """

    capture_goal: Constant
    placement_sigma: Constant
    spacing: Constant
    alike: Constant


@dataclass(frozen=True)
class Capture:
    """Distance within which the nerve counts as caught, mm, and the placement errors of the curve.

    Attributes
    ----------
    beyond : Constant or None
        How far past either end of an active tip its lesion is taken to reach, mm; None for all else.
    ranked_sigma : Constant or None
        The placement error per axis whose probability of capture ranks electrodes, mm.
    """

    radius: Constant
    radius_low: Constant
    radius_high: Constant
    placement_sigmas: Numbers
    beyond: Constant | None = None
    ranked_sigma: Constant | None = None


@dataclass(frozen=True)
class SearchRule:
    """How finely paths are sampled, when two are one choice, and what lowers a score.

    Attributes
    ----------
    unusual_share, beyond_carm_share : Constant
        What is left of a score outside the usual angles, and beyond `carm_tilt`.
    carm_tilt : Constant
        Greatest tilt to either side that a C-arm is taken to reach, degrees.
    """

    entry_spacing: Constant
    clearance_saturation: Constant
    entry_error: Constant
    angle_error: Constant
    different_angle: Constant
    different_entry: Constant
    angle_scale: Constant
    unusual_share: Constant
    carm_tilt: Constant
    beyond_carm_share: Constant
    required_within: Constant
    placements: Constant


@dataclass(frozen=True)
class StockNeedle:
    """One kind of needle in its stocked lengths."""

    name: str
    gauge: int
    diameter: Constant
    lengths: Numbers
    active_tip: Constant | None = None

    @property
    def needles(self) -> tuple[Needle, ...]:
        """One `Needle` per stocked length, shortest first."""
        tip = None if self.active_tip is None else self.active_tip.value
        return tuple(Needle(f"{self.name} {length:.0f} mm", self.gauge, length, self.diameter.value, tip)
                     for length in self.lengths.values)

    @property
    def of_any_length(self) -> Needle:
        """This kind where no length can be chosen."""
        tip = None if self.active_tip is None else self.active_tip.value
        return Needle(self.name, self.gauge, None, self.diameter.value, tip)


@dataclass(frozen=True)
class Statement:
    """One sentence that a report says once, with where it stands in the literature."""

    text: str
    status: Status
    source: str


@dataclass(frozen=True, eq=False)
class Procedure:
    """One procedure of the catalogue.

    Attributes
    ----------
    site : Site
        What is aimed at; `joints` are those of a procedure that aims at facet joints, `quadrant` is the part of a
        foramen that one aims at.
    site_rule : SiteRule or None
        Where a tip may end when it is no nerve that is aimed at.
    required : tuple of StructureName
        Masks without which nothing is proposed; `required_for` adds some for single nerves.
    margins : mapping
        Least distance from the needle's surface to each structure, mm.
    angles : mapping
        The band of each nerve or joint; None holds the default.
    may_cross : tuple of str
        Bones the needle may enter; ``carrier`` is each target's own.
    notices : tuple of str
        What must be said with every plan of this procedure.
    statements : tuple of Statement
        What a person should know or ask before it, said once in a report.
    weights : mapping
        Share of each soft objective in the ranking; they sum to 1.
    """

    name: str
    title: str
    kind: ProcedureKind
    nerves: tuple[Nerve, ...]
    required: tuple[StructureName, ...]
    required_for: Mapping[Nerve, tuple[StructureName, ...]]
    margins: Mapping[StructureName, Constant]
    nerve_rule: TargetRule | None
    unlabelled_bone: UnlabelledBone
    angles: Mapping[Nerve | str | None, AngleBand]
    reach: Reach
    tip: TipRule
    capture: Capture
    search: SearchRule
    weights: Mapping[str, Constant]
    needles: tuple[StockNeedle, ...]
    electrode: Electrode | None
    generator: Generator | None
    second: SecondNeedle | None
    may_cross: tuple[str, ...]
    notices: tuple[str, ...]
    statements: tuple[Statement, ...] = ()
    site: Site = Site.NERVE
    site_rule: SiteRule | None = None
    joints: tuple[str, ...] = ()
    quadrant: Quadrant | None = None

    @property
    def target(self) -> TargetRule:
        """The checks of a nerve target; only procedures that aim at a nerve on bone have them."""
        if self.nerve_rule is None:
            raise ValueError(f"{self.name} aims at no nerve on bone")
        return self.nerve_rule

    def band(self, aim: Nerve | str | None) -> AngleBand:
        """The angle band of a nerve or a joint."""
        return self.angles.get(aim, self.angles[None])

    def required_structures(self, nerve: Nerve | None) -> tuple[StructureName, ...]:
        """Masks without which nothing is proposed for a nerve."""
        return self.required + (self.required_for.get(nerve, ()) if nerve is not None else ())

    def with_edges(self, structures: Mapping[StructureName, Structure]) -> Procedure:
        """The same with each margin wider by what is not known of its structure's edge."""
        edges = {name: s.edge_mm for name, s in structures.items() if s.edge_mm > 0}
        wider = {name: replace(margin, value=margin.value + edges[name],
                               source=f"{margin.source}; {edges[name]:g} mm more for the mask's edge")
                 for name, margin in self.margins.items() if name in edges}
        return replace(self, margins={**self.margins, **wider})

    @property
    def stock(self) -> tuple[Needle, ...]:
        """Every needle of the procedure, shortest first."""
        return tuple(sorted((n for kind in self.needles for n in kind.needles), key=lambda n: (n.shaft_mm, n.gauge)))


def _needle(table: Any, where: str) -> StockNeedle:
    tip = table.get("active_tip")
    return StockNeedle(
        table["name"], table["gauge"], quantity(Constant, table["diameter"], f"{where}.diameter"),
        quantity(Numbers, table["lengths"], f"{where}.lengths"),
        None if tip is None else quantity(Constant, tip, f"{where}.active_tip"))


def _statement(table: Any, where: str) -> Statement:
    if set(table) != {"text", "status", "source"}:
        raise data_error(where, "a statement has a text, a status and a source")
    return Statement(table["text"], Status(table["status"]), table["source"])


def _aim(name: str) -> Nerve | str | None:
    """Whose angle band it is: a nerve, a joint, or everything else."""
    if name == "default":
        return None
    return parse_joint(name) if "/" in name else Nerve(name)


def _quadrant(data: Mapping[str, Any], site: Site) -> Quadrant | None:
    """The part of a foramen that is aimed at; its superior half only where that is allowed."""
    if (site is Site.FORAMEN) != ("quadrant" in data):
        raise data_error(data["name"], "a quadrant belongs to procedures that aim at a foramen, and only there")
    if site is not Site.FORAMEN:
        return None
    quadrant = Quadrant(data["quadrant"])
    wrong = [n for n in data["nerves"] if Nerve(n) not in SUPERIOR_NERVES]
    if quadrant is Quadrant.POSTEROSUPERIOR and wrong:
        raise data_error(data["name"], f"the superior half of the foramen is not aimed at for {', '.join(wrong)}")
    return quadrant


def parse_procedure(data: Mapping[str, Any]) -> Procedure:
    """A procedure from the parsed TOML of one file; anything amiss is a ValueError that names the place."""
    kind = ProcedureKind(data["kind"])
    if (kind is ProcedureKind.RF) != ("electrode" in data):
        raise data_error(data["name"], "an electrode section belongs to radiofrequency procedures, and only there")
    weights = {name: quantity(Constant, w, f"weights.{name}") for name, w in data["weights"].items()}
    if abs(sum(w.value for w in weights.values()) - 1.0) > 1e-9:
        raise data_error("weights", "must sum to 1")
    site = Site(data.get("site", Site.NERVE))
    if (site is Site.NERVE) != ("target" in data) or (site is Site.NERVE) == ("site_rule" in data):
        raise data_error(data["name"], "a nerve on bone has a target section, every other site a site_rule section")
    return Procedure(
        name=data["name"], title=data["title"], kind=kind,
        nerves=tuple(Nerve(n) for n in data["nerves"]),
        required=tuple(StructureName(s) for s in data["required"]),
        required_for={Nerve(n): tuple(StructureName(s) for s in names) for n, names in data["required_for"].items()},
        margins={StructureName(s): quantity(Constant, c, f"margins.{s}") for s, c in data["margins"].items()},
        nerve_rule=section(TargetRule, data["target"], "target") if site is Site.NERVE else None,
        unlabelled_bone=section(UnlabelledBone, data["unlabelled_bone"], "unlabelled_bone"),
        angles={_aim(n): section(AngleBand, band, f"angles.{n}") for n, band in data["angles"].items()},
        reach=section(Reach, data["reach"], "reach"), tip=section(TipRule, data["tip"], "tip"),
        capture=section(Capture, data["capture"], "capture"),
        search=section(SearchRule, data["search"], "search"), weights=weights,
        needles=tuple(_needle(n, f"needles[{i}]") for i, n in enumerate(data["needles"])),
        electrode=section(Electrode, data["electrode"], "electrode") if "electrode" in data else None,
        generator=section(Generator, data["generator"], "generator") if "generator" in data else None,
        second=section(SecondNeedle, data["second"], "second") if "second" in data else None,
        may_cross=tuple(data["may_cross"]), notices=tuple(data["notices"]),
        statements=tuple(_statement(s, f"statements.{n}") for n, s in data.get("statements", {}).items()), site=site,
        site_rule=section(SITE_RULES[site], data["site_rule"], "site_rule") if site in SITE_RULES else None,
        joints=tuple(parse_joint(j) for j in data.get("joints", ())), quadrant=_quadrant(data, site))
