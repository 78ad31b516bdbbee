"""One vertebra after the other: a walk along the chain with the instance net, and the rules that end it."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from imaging.volume import Volume
from segmentation.builtin.canal import CanalPath
from segmentation.builtin.lattice import AIR_HU, Cube, FloatArray, Points, cut, intensity, sample
from segmentation.builtin.localise import ClassMap, Column
from segmentation.builtin.models import Nets
from segmentation.builtin.settings import settings

__all__ = ["ANCHOR", "PATCH", "SPACING_MM", "Chain", "Instance", "InstanceFinder", "StopReason"]

logger = logging.getLogger(__name__)

SPACING_MM = 1.5
PATCH = (64, 64, 64)
#: Voxel (z, y, x) of the patch on which the body's centre is put: a contract with the net's training.
ANCHOR = np.array([32, 22, 32])
_HEAT_SIGMA_MM = 8.0
_CORE_SHARE = 0.6
_LONGEST_CHAIN = 26
_FIRST_STEP_MM = 32.0
_MARGIN_MM = 100.0


class StopReason(StrEnum):
    """Why a place is not (another) vertebra."""

    FIELD = "end of the field of view"
    EMPTY = "no vertebra there"
    SACRUM = "sacrum"
    VOLUME = "size out of line with its neighbour"
    STEP = "distance out of line with its neighbour"
    SAME = "same bone as its neighbour"
    CANAL = "not in front of the canal"
    SUPPORT = "not a vertebral body to the localising net"


@dataclass(frozen=True, eq=False)
class Instance:
    """One vertebra as the instance net sees it.

    Attributes
    ----------
    centre : (3,)
        Box mm of the body's core.
    cube : Cube
        The patch's lattice (1.5 mm, 64 voxels a side).
    this, other : (64, 64, 64) float16
        Probability of this vertebra, and of another one or the sacrum.
    mask : (64, 64, 64) bool
        The piece of this vertebra that holds the centre.
    volume_ml : float
    cut : bool
        The mask reaches the end of the field of view.
    sacrum_share, support : float
        In the body's core, by the localising net: sacrum against body, and the probability of body or disc.
    """

    centre: Points
    cube: Cube
    this: NDArray[np.float16]
    other: NDArray[np.float16]
    mask: NDArray[np.bool_]
    volume_ml: float
    cut: bool
    sacrum_share: float
    support: float

    def points(self) -> Points:
        """(n, 3) box mm of the mask's voxels."""
        return self.cube.to_box(np.argwhere(self.mask))


@dataclass(frozen=True, eq=False)
class Chain:
    """A gapless chain.

    Attributes
    ----------
    vertebrae : tuple of Instance
        Free vertebrae from caudal to cranial.
    sacral : tuple of Instance
        Segments of the sacrum below them, the uppermost first.
    sacrum_doubted : bool
        It is not clear which bone is the first of the sacrum.
    """

    vertebrae: tuple[Instance, ...]
    sacral: tuple[Instance, ...] = ()
    sacrum_doubted: bool = False


def _heat() -> FloatArray:
    """(64, 64, 64) Gaussian at the anchor."""
    axes = [((np.arange(n) - a) * SPACING_MM) ** 2 for n, a in zip(PATCH, ANCHOR, strict=True)]
    square = axes[0][:, None, None] + axes[1][None, :, None] + axes[2][None, None, :]
    return np.asarray(np.exp(-square / (2.0 * _HEAT_SIGMA_MM**2)), dtype=np.float32)


def _piece_at_anchor(mask: NDArray[np.bool_], heat: FloatArray) -> NDArray[np.bool_]:
    """The connected piece with the greatest share of the anchor's Gaussian (not simply the largest)."""
    pieces, count = ndimage.label(mask)
    if count <= 1:
        return mask
    weight = np.bincount(pieces.ravel(), weights=heat.ravel())
    weight[0] = 0.0
    return np.asarray(pieces == int(weight.argmax()))


def _core(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The thickest piece of a vertebra: its body's core."""
    depth = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"))[1:-1, 1:-1, 1:-1]
    core = mask & (depth > _CORE_SHARE * depth.max())
    pieces, count = ndimage.label(core)
    if count <= 1:
        return np.asarray(core)
    sizes = np.bincount(pieces.ravel())
    sizes[0] = 0
    return np.asarray(pieces == int(sizes.argmax()))


class InstanceFinder:
    """Runs the instance net at chosen centres of one scan.

    Parameters
    ----------
    volume : Volume
    classes : ClassMap
        The localising net's answer.
    column : Column
        The bodies' curve; the 1.5 mm scan is read only around it.
    """

    def __init__(self, volume: Volume, classes: ClassMap, column: Column, canal: CanalPath, nets: Nets) -> None:
        box = classes.cube.box
        low, high = column.curve.min(axis=0) - _MARGIN_MM, column.curve.max(axis=0) + _MARGIN_MM
        self.cube = Cube.over(box, SPACING_MM, low, high)
        self.hu = sample(volume, self.cube)
        self._image = intensity(self.hu)
        self._classes = classes
        self._column = column
        self._canal = canal
        self._nets = nets
        self._heat = _heat()
        self._air = float(intensity(np.array([AIR_HU]))[0])

    def _ask(self, centre: Points) -> tuple[Cube, FloatArray]:
        """Run the net with a centre on the anchor: the patch's lattice and the (3, 64, 64, 64) probabilities."""
        start = np.round(self.cube.to_index(centre)).astype(np.int64) - ANCHOR
        patch = cut(self._image, start, PATCH, self._air)
        cube = Cube(self.cube.box, SPACING_MM, self.cube.corner + start * SPACING_MM, PATCH)
        return cube, self._nets.instance(np.stack([patch, self._heat]))

    def look(self, centre: Points) -> Instance | None:
        """One run of the net at a centre (box mm); None when it sees no vertebra there."""
        cube, answer = self._ask(centre)
        mask = _piece_at_anchor(answer[1] > settings().refine.plain, self._heat)
        volume_ml = float(mask.sum()) * SPACING_MM**3 / 1000.0
        if volume_ml < 0.5:
            return None
        core = cube.to_box(np.argwhere(_core(mask)))
        every = cube.to_box(np.argwhere(mask))
        sacrum, body = (float(self._classes.at(name, core).mean()) for name in ("sacrum", "vertebral_body"))
        disc = float(self._classes.at("disc", core).mean())
        return Instance(
            centre=core.mean(axis=0), cube=cube, this=answer[1].astype(np.float16), other=answer[2].astype(np.float16),
            mask=mask, volume_ml=volume_ml, cut=self._reaches_edge(every),
            sacrum_share=sacrum / max(sacrum + body, 1e-6), support=body + disc)

    def bone_at(self, centre: Points) -> tuple[Cube, FloatArray]:
        """The patch's lattice around a centre, and the probability of any vertebra or sacrum in it."""
        cube, answer = self._ask(centre)
        return cube, np.asarray(1.0 - answer[0], dtype=np.float32)

    def hu_of(self, found: Instance) -> FloatArray:
        """(64, 64, 64) Hounsfield units of a vertebra's patch, -1000 outside the field of view."""
        start = np.round((found.cube.corner - self.cube.corner) / SPACING_MM).astype(np.int64)
        return np.asarray(cut(self.hu, start, PATCH, AIR_HU))

    def settle(self, guess: Points) -> Instance | None:
        """Look, move to the body's core, look again."""
        found: Instance | None = None
        for _ in range(settings().walk.passes):
            again = self.look(guess)
            if again is None:
                return found
            found = again
            moved = float(np.linalg.norm(found.centre - guess))
            guess = found.centre
            if moved < settings().walk.settled_mm or found.volume_ml < settings().walk.volume_low_ml:
                break
        return found

    def _reaches_edge(self, points: Points) -> bool:
        size = self.cube.box.size
        edge = SPACING_MM
        return bool((points.min(axis=0) < edge).any() or (points.max(axis=0) > size - edge).any())

    def refusal(self, found: Instance | None, guess: Points) -> StopReason | None:
        """Why a find cannot be a vertebra at all, whatever its neighbours; None when it can."""
        limits = settings().walk
        box = self.cube.box
        if not box.holds(guess, limits.field_margin_mm):
            return StopReason.FIELD
        if found is None or found.volume_ml < limits.volume_low_ml:
            return StopReason.EMPTY
        if not box.holds(found.centre, limits.field_margin_mm):
            return StopReason.FIELD
        if found.volume_ml > limits.volume_high_ml:
            return StopReason.VOLUME
        if found.sacrum_share > limits.sacrum_share:
            return StopReason.SACRUM
        canal = self._canal.at(float(found.centre[0]))
        front = float(np.linalg.norm((canal - found.centre)[1:]))
        if self._canal.beyond_mm(float(found.centre[0])) < 15.0 and not (
                limits.canal_low_mm < front < limits.canal_high_mm and canal[1] > found.centre[1]):
            return StopReason.CANAL
        if self._canal.beyond_mm(float(found.centre[0])) > 45.0:
            return StopReason.CANAL
        if found.support < limits.support:
            return StopReason.SUPPORT
        return None

    def seeds(self) -> list[Points]:
        """Places to start from, surest first: clear profile peaks, far from the field's ends and from the sacrum."""
        column, size = self._column, self.cube.box.size
        if not len(column.peaks):
            return [column.curve[len(column.curve) // 2]]
        edge = np.minimum(column.peaks[:, 0], size[0] - column.peaks[:, 0])
        sacrum = self._classes.at("sacrum", column.peaks)
        score = column.strength * np.clip(edge / 48.0, 0.2, 1.0) * (1.0 - sacrum)
        return [column.peaks[n] for n in np.argsort(-score)[: settings().walk.tries]]

    def walk(self) -> Chain:
        """Find the chain: from the surest place up and down until a rule ends it."""
        best = Chain(())
        for seed in self.seeds():
            if any(np.linalg.norm(v.centre - seed) < 10.0 for v in best.vertebrae):
                continue
            first = self.settle(seed)
            if self.refusal(first, seed) is not None:
                continue
            assert first is not None
            below, sacral = self._run(first, -1)
            above, _ = self._run(first, +1)
            chain = Chain((*below[::-1], first, *above), sacral)
            if len(chain.vertebrae) > len(best.vertebrae):
                best = chain
        return _without_sacrum(best)

    def _run(self, first: Instance, direction: int) -> tuple[list[Instance], tuple[Instance, ...]]:
        """Walk one way (+1 cranial, -1 caudal) from a vertebra; the sacral segment that ended the walk comes second."""
        chain: list[Instance] = []
        current, step = first, self._first_step(first, direction)
        while len(chain) < _LONGEST_CHAIN:
            found, stop = self._next(current, step, direction)
            if found is None or stop is not None:
                logger.debug("walk %+d ended after %d: %s", direction, len(chain), stop)
                return chain, (found,) if found is not None and stop is StopReason.SACRUM else ()
            step = 0.5 * step + 0.5 * float(np.linalg.norm(found.centre - current.centre))
            current = found
            chain.append(found)
        return chain, ()

    def _first_step(self, first: Instance, direction: int) -> float:
        """Distance to the next clear profile peak, or the population's lumbar step."""
        gaps = [float(np.linalg.norm(p - first.centre)) for p in self._column.peaks
                if direction * (p[0] - first.centre[0]) > 0]
        likely = [g for g in gaps if 18.0 < g < 46.0]
        return min(likely, key=lambda g: abs(g - _FIRST_STEP_MM)) if likely else _FIRST_STEP_MM

    def _next(self, current: Instance, step: float, direction: int) -> tuple[Instance | None, StopReason | None]:
        """The next vertebra, trying the expected place, then a little nearer and a little further.

        Returns
        -------
        Instance or None
            Also given, with the reason, when it is a segment of the sacrum.
        StopReason or None
            None for a vertebra.
        """
        stop: StopReason | None = None
        for share in (1.0, 0.8, 1.25):
            guess = self._expected(current, share * step, direction)
            if not self.cube.box.holds(guess, settings().walk.field_margin_mm):
                stop = stop or StopReason.FIELD
                continue
            found = self.settle(guess)
            refused = self.refusal(found, guess)
            if refused is None:
                assert found is not None
                refused = self._misfit(current, found, step, direction)
            if refused is None:
                assert found is not None
                return self._without_gap(current, found, direction)
            stop = stop or refused
            if refused is StopReason.SACRUM:
                return found, refused
            if refused in (StopReason.VOLUME, StopReason.CANAL):
                break
        return None, stop

    def _without_gap(self, current: Instance, found: Instance,
                     direction: int) -> tuple[Instance | None, StopReason | None]:
        """The find itself when its bone comes near `current`'s; else the vertebra that was skipped between the two."""
        if _gap_mm(current, found) <= settings().walk.gap_mm:
            return found, None
        guess = (current.centre + found.centre) / 2
        between = self.settle(guess)
        if self.refusal(between, guess) is not None:
            return None, StopReason.STEP
        assert between is not None
        fits = (direction * float((between.centre - current.centre)[0]) > 0
                and max(_shared(current, between), _shared(between, found)) <= settings().walk.overlap
                and _gap_mm(current, between) <= settings().walk.gap_mm)
        return (between, None) if fits else (None, StopReason.STEP)

    def _expected(self, current: Instance, step: float, direction: int) -> Points:
        """Where the next body should be: along the curve, drawn to a profile peak near there."""
        guess = self._column.step_from(current.centre, direction * step)
        if len(self._column.peaks):
            gap = np.linalg.norm(self._column.peaks - guess, axis=1)
            nearest = int(gap.argmin())
            if gap[nearest] < 0.3 * step:
                return np.asarray(self._column.peaks[nearest])
        return guess

    def _misfit(self, current: Instance, found: Instance, step: float, direction: int) -> StopReason | None:
        """Why a find cannot be the neighbour of `current`; None when it can."""
        limits = settings().walk
        moved = found.centre - current.centre
        distance = float(np.linalg.norm(moved))
        if direction * moved[0] < 0.3 * distance or distance < limits.step_low * step:
            return StopReason.SAME
        if _shared(current, found) > limits.overlap:
            return StopReason.SAME
        if distance > limits.step_high * step:
            return StopReason.STEP
        ratio = found.volume_ml / current.volume_ml
        if not (found.cut or current.cut) and not 1.0 / limits.volume_jump < ratio < limits.volume_jump:
            return StopReason.VOLUME
        return None


def _without_sacrum(chain: Chain) -> Chain:
    """Take sacral segments off the lower end.

    The walk ends at a bone that is clearly sacrum. Where it ended otherwise, the lowest bones may be sacral segments
    that the localising net half recognises: those that it calls sacrum far more than the bone above.
    """
    limits = settings().walk
    rest = list(chain.vertebrae)
    if not rest or chain.sacral:
        return replace(chain, sacrum_doubted=bool(rest) and rest[0].sacrum_share > limits.sacrum_doubt)
    first_free = 0
    for n in range(min(3, len(rest) - 1)):
        share, above = rest[n].sacrum_share, rest[n + 1].sacrum_share
        if share > limits.sacrum_hint and share > limits.sacrum_contrast * above:
            first_free = n + 1
    if not first_free:
        return replace(chain, sacrum_doubted=rest[0].sacrum_share > limits.sacrum_doubt)
    logger.debug("%d lowest bones taken for sacrum", first_free)
    return Chain(tuple(rest[first_free:]), tuple(rest[:first_free][::-1]), sacrum_doubted=True)


def _gap_mm(one: Instance, other: Instance) -> float:
    """Smallest distance between the bones of two vertebrae, mm."""
    return float(cKDTree(one.points()).query(other.points(), distance_upper_bound=100.0)[0].min())


def _shared(one: Instance, other: Instance) -> float:
    """Share of the smaller mask that both masks hold."""
    shift = np.round((other.cube.corner - one.cube.corner) / SPACING_MM).astype(np.int64)
    moved = cut(one.mask, shift, PATCH, 0)
    return float((moved & other.mask).sum()) / max(min(int(one.mask.sum()), int(other.mask.sum())), 1)
