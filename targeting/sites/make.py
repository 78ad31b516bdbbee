"""Which places a request means, and the target or the missing target of each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from imaging.errors import UsageError
from imaging.geometry import Side
from imaging.volume import Volume
from segmentation.anatomy import Nerve, carrier_of
from segmentation.spine import NumberingStatus, Spine
from targeting.model import MissingTarget, Target, TargetList
from targeting.procedures import Procedure
from targeting.procedures.sites import Site
from targeting.sites.body import body_target
from targeting.sites.common import Anatomy, NoSite
from targeting.sites.facet import bones_of_joint, facet_target
from targeting.sites.foramen import foramen_target
from targeting.sites.palisade import palisade_targets
from targeting.sites.sacral_foramen import sacral_foramen_target

__all__ = ["make_site_targets"]

_ONE_NEEDLE = {Site.VERTEBRAL_BODY: body_target, Site.FORAMEN: foramen_target,
               Site.SACRAL_FORAMEN: sacral_foramen_target}
_UNNAMED = "the levels could not be named, only counted from the lowest seen"


@dataclass(frozen=True)
class _Place:
    """One place asked for: a joint or a nerve."""

    nerve: Nerve | None
    name: str
    carrier: str
    make: Callable[[Anatomy, Side], Sequence[Target]]


def _joint_place(procedure: Procedure, joint: str) -> _Place:
    return _Place(None, f"{joint} joint", bones_of_joint(joint)[1],
                  lambda anatomy, side: (facet_target(anatomy, procedure, joint, side),))


def _nerve_place(procedure: Procedure, nerve: Nerve) -> _Place:
    carrier = carrier_of(nerve).value
    if procedure.site is Site.SACRAL_ROW:
        return _Place(nerve, nerve.value, carrier,
                      lambda anatomy, side: palisade_targets(anatomy, procedure, nerve, side))
    make = _ONE_NEEDLE[procedure.site]
    return _Place(nerve, nerve.value, carrier, lambda anatomy, side: (make(anatomy, procedure, nerve, side),))


def _places(procedure: Procedure, nerves: Sequence[Nerve] | None, joints: Sequence[str] | None) -> list[_Place]:
    """The places meant by a request, in the procedure's order; its own when nothing is said."""
    by_joint = procedure.site is Site.FACET_JOINT
    known = list(procedure.joints) if by_joint else [n.value for n in procedure.nerves]
    foreign, option = (nerves, "--joint") if by_joint else (joints, "--nerve")
    asked = list(joints or ()) if by_joint else [n.value for n in nerves or ()]
    wrong = [str(name) for name in foreign or ()] + [name for name in asked if name not in known]
    if wrong:
        raise UsageError(f"{procedure.name} has no target for {', '.join(wrong)}; say {option} with one of "
                         f"{', '.join(known)}")
    if by_joint:
        return [_joint_place(procedure, j) for j in procedure.joints if not asked or j in asked]
    return [_nerve_place(procedure, n) for n in procedure.nerves if not asked or n.value in asked]


def make_site_targets(spine: Spine, procedure: Procedure, nerves: Sequence[Nerve] | None,
                      joints: Sequence[str] | None, sides: Sequence[Side] | None,
                      volume: Volume | None) -> TargetList:
    """`targeting.targets.make_targets` for the procedures that aim at a space."""
    targets: list[Target] = []
    missing: list[MissingTarget] = []
    anatomy = Anatomy(spine, volume)
    for place in _places(procedure, nerves, joints):
        for side in [s for s in Side if sides is None or s in sides]:
            try:
                if spine.numbering.status is not NumberingStatus.NAMED:
                    raise NoSite(_UNNAMED)
                targets += place.make(anatomy, side)
            except NoSite as reason:
                missing.append(MissingTarget(place.nerve, place.name, side, place.carrier, str(reason)))
    return TargetList(tuple(targets), tuple(missing))
