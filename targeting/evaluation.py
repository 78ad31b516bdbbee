"""The edit path: one needle, wherever a person puts it, held against the very limits of the search in a few ms."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from imaging.errors import UsageError
from imaging.geometry import to_index, to_world, unit
from imaging.position import position_of
from imaging.volume import Volume
from segmentation.spine import Spine
from targeting.assess import BEYOND_REACH_MM, judge
from targeting.blocked import blocked_by, unseen_on_open_path
from targeting.clearance import ClearanceMeter
from targeting.confirm import confirm
from targeting.fields import PathFields, body_state, build_fields, crossed_by
from targeting.kernels import AIR, find_contact, find_exit
from targeting.model import Evaluation, Needle, ProposalStatus, Rejection, RejectionReason, Target
from targeting.needles import longest_path
from targeting.placing import make_placement
from targeting.procedures import Procedure
from targeting.procedures.sites import Site
from targeting.ranking import score
from targeting.scene import Scene
from targeting.targets import make_targets

__all__ = ["Evaluator"]

Array = NDArray[np.float64]
#: A needle shorter than this has no direction, mm.
_SHORTEST_MM = 1.0
#: How far before and beyond the tip bone is looked for, mm.
_CONTACT_REACH_MM = 15.0
#: Fields may end this far from the rim of the scan, because they are thinned.
_RIM_VOXELS = 6.0


class Evaluator:
    """Judges needles that a person places; built once per spine and procedure.

    Clearances are measured on the written masks. The fields that the search walks through give the skin, the
    objectives and an active tip's contact; they are built for the targets at hand, and once more when a target or a
    needle lies outside them.

    Parameters
    ----------
    spine : Spine
    procedure : Procedure
    volume : Volume or None
        The scan, as for `targeting.planning.propose`.
    targets : sequence of Target or None
        What will be edited; None means every target the procedure has in this spine.
    """

    def __init__(self, spine: Spine, procedure: Procedure, volume: Volume | None = None,
                 targets: Sequence[Target] | None = None) -> None:
        procedure = procedure.with_edges(spine.structures)
        self._spine, self._procedure, self._volume = spine, procedure, volume
        self._meter = ClearanceMeter(spine)
        self._meter.prepare()
        self._state = body_state(spine)
        self._scenes: dict[tuple[int, Needle | None], Scene] = {}
        self._blocked: dict[int, tuple[Rejection, ...]] = {}
        self._spaces: dict[str, Target] = {}
        first = make_targets(spine, procedure, volume=volume).targets if targets is None else tuple(targets)
        groups: dict[frozenset[int], list[Target]] = {}
        for target in first:
            groups.setdefault(crossed_by(target, procedure), []).append(target)
        self._fields = [build_fields(spine, group, procedure, volume) for group in groups.values()]

    def entry_of(self, tip: Array, direction: Array) -> Array | None:
        """(3,) LPS mm where the line through a tip (unit direction, entry to tip) meets the skin; None out of view."""
        s, how = self._exit(tip, direction)
        return tip - s * direction if how == AIR else None

    def _exit(self, tip: Array, direction: Array) -> tuple[float, int]:
        grid = self._spine.grid
        inverse = np.ascontiguousarray(np.linalg.inv(grid.affine[:3, :3]))
        s, how = find_exit(self._state, inverse, np.array(grid.origin), tip[None].copy(), direction[None].copy(),
                           longest_path(self._procedure) + BEYOND_REACH_MM)
        return float(s[0]), int(how[0])

    def bone_contact(self, target: Target, tip: Array, direction: Array) -> Array | None:
        """(3,) LPS mm where a needle along a unit direction first touches bone, within `_CONTACT_REACH_MM` of its tip.

        None where it meets no bone there, or where it is inside bone all the way.
        """
        points = tip + np.array([[-_CONTACT_REACH_MM], [_CONTACT_REACH_MM]]) * direction
        scene = self._scene(target, None, points)
        s, _ = find_contact(scene.fields.bones, scene.inverse, scene.origin, tip[None].copy(), direction[None].copy(),
                            _CONTACT_REACH_MM, _CONTACT_REACH_MM, scene.contact_gap)
        found = float(s[0])
        return tip - found * direction if found < _CONTACT_REACH_MM else None

    def _fields_over(self, target: Target, points: Array) -> PathFields:
        """Fields that cover a target and some points, as far as the scan reaches; made when there are none."""
        grid, here = self._spine.grid, np.concatenate([target.position[None], points])
        last = np.array(grid.shape[::-1]) - 1.0
        rim = np.minimum(_RIM_VOXELS, last / 2)
        here = to_world(grid, np.clip(to_index(grid, here), rim, last - rim))
        for fields in self._fields:
            if fields.crossed != crossed_by(target, self._procedure):
                continue
            index = to_index(fields.grid, here)
            if ((index >= 0) & (index <= np.array(fields.grid.shape[::-1]) - 1)).all():
                return fields
        fields = build_fields(self._spine, [target], self._procedure, self._volume, also=here)
        self._fields.append(fields)
        return fields

    def _scene(self, target: Target, needle: Needle | None, points: Array) -> Scene:
        fields, key = self._fields_over(target, points), (id(target), needle)
        scene = self._scenes.get(key)
        if scene is None or scene.target is not target or scene.fields is not fields:
            scene = self._scenes[key] = Scene(self._spine, fields, target, self._procedure, needle,
                                               position_of(self._volume))
            self._blocked[id(target)] = blocked_by(target, self._procedure, self._spine, self._meter, self._volume)
        return scene

    def _with_space(self, target: Target) -> Target:
        """The target itself, or as it was made: a plan that was read back holds no spaces."""
        if self._procedure.site is Site.NERVE or target.region is not None:
            return target
        if target.id not in self._spaces:
            made = make_targets(self._spine, self._procedure, volume=self._volume).targets
            self._spaces = {t.id: t for t in made}
        if target.id not in self._spaces:
            raise UsageError(f"the space of {target.id} cannot be found again on this scan")
        return self._spaces[target.id]

    def evaluate(self, target: Target, entry: Array | None, tip: Array, needle: Needle | None = None, *,
                 direction: Array | None = None) -> Evaluation:
        """Judge one needle.

        Parameters
        ----------
        target : Target
            One of the procedure's, or placed by hand: with an empty course there is no capture curve, and it says so.
        entry : (3,) LPS mm or None
            None: direction only; the path is followed to the skin or to the end of what was measured.
        tip : (3,) LPS mm
        needle : Needle or None
            None takes the stocked one that reaches, else the longest.
        direction : (3,) or None
            Entry to tip, any length; needed exactly when there is no entry.

        Raises
        ------
        UsageError
            Entry and tip are one point or not finite, or neither or both of entry and direction are given; or a target
            that is a space cannot be found again. Ends outside the image are no error: the evaluation says so.
        ValueError
            The target's carrier has no vertebral frame, so that its angles have no meaning.
        """
        if (entry is None) == (direction is None):
            raise UsageError("give either the entry or the direction of a needle")
        target, tip = self._with_space(target), np.asarray(tip, np.float64)
        way = np.asarray(direction, np.float64) if entry is None else tip - np.asarray(entry, np.float64)
        if not (np.isfinite(tip).all() and np.isfinite(way).all()):
            raise UsageError("the entry, the tip and the direction of a needle must be finite numbers")
        if not np.linalg.norm(way) > (0.0 if entry is None else _SHORTEST_MM):
            raise UsageError("the entry and the tip of a needle must be apart")
        u, length = unit(way), None if entry is None else float(np.linalg.norm(way))
        s, _ = self._exit(tip, u)
        scene = self._scene(target, needle, np.stack([tip, tip - max(s, length or 0.0) * u]))
        batch = judge(scene, tip, u, length)
        measured = confirm(scene, self._meter, batch.entries[0], tip, u, float(batch.lengths[0]))
        _, scores = score(scene, batch, np.array([0]))
        objectives = {name: float(values[0]) for name, values in scores.items()}
        placement = make_placement(scene, batch, 0, measured, objectives, 1, entry is None,
                                   self._meter.structures)
        unseen = self._unseen({"tip": tip} if entry is None else {"entry": np.asarray(entry, np.float64), "tip": tip})
        judged = (limit.broken(float(values[0])) for limit, _, values in batch.broken)
        beyond = unseen_on_open_path(target, self._procedure, self._meter) if batch.open_end[0] else ()
        broken = (*self._blocked[id(target)], *beyond, *unseen, *judged, *measured.broken)
        status = (ProposalStatus.NONE if broken else
                  ProposalStatus.DIRECTION_ONLY if entry is None else ProposalStatus.PROPOSED)
        margins_met = placement.margins_met and (None if unseen or self._unknown(target) else True)
        return Evaluation(target, status, replace(placement, broken=broken, margins_met=margins_met))

    def _unseen(self, ends: Mapping[str, Array]) -> list[Rejection]:
        """Ends of a needle, (3,) LPS mm, that lie where nothing was measured."""
        grid, out = self._spine.grid, []
        size = np.array(grid.shape[::-1])
        for name, point in ends.items():
            index = to_index(grid, point)
            beyond = float(np.linalg.norm((index - np.clip(index, -0.5, size - 0.5)) * grid.spacing))
            i, j, k = np.clip(np.rint(index), 0, size - 1).astype(int)
            if beyond > 0:
                out.append(Rejection(RejectionReason.OUTSIDE_IMAGE, None, 0.0, round(beyond, 3), 1,
                                     f"the {name} lies {beyond:.1f} mm outside the image: nothing is known there"))
            elif self._spine.reconstructed is not None and not self._spine.reconstructed[k, j, i]:
                out.append(Rejection(RejectionReason.OUTSIDE_IMAGE, None, None, None, 1,
                                     f"the {name} lies where the scan measured nothing"))
        return out

    def _unknown(self, target: Target) -> bool:
        """Whether a structure with a margin is required for a target and was not computed."""
        margins = {name.value for name in self._procedure.margins}
        return any(b.reason is RejectionReason.STRUCTURE_NOT_COMPUTED and b.structure in margins
                   for b in self._blocked[id(target)])
