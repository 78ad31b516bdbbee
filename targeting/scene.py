"""One target in its surroundings, with everything a batch of needles is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.stats import ncx2

from imaging.geometry import VertebralFrame, unit
from segmentation.anatomy import LandmarkName, Nerve
from segmentation.spine import Spine
from targeting.angles import frame_of
from targeting.constants import Interval
from targeting.distance import ellipsoid_reach
from targeting.fields import PathFields
from targeting.kernels import sample_many
from targeting.model import Needle, Target
from targeting.needles import longest_path
from targeting.procedures import Procedure
from targeting.procedures.schema import AngleBand, Electrode
from targeting.region import TipRegion
from targeting.targets import neck_fraction, sample_path

__all__ = ["Scene"]

Array = NDArray[np.float64]
_CONTACT_GAP_MM = 0.1
#: Distances of an axis to the nerve for which the probability of capture is tabled, mm.
_FARTHEST_MM = 12.0


@dataclass(frozen=True, eq=False)
class Scene:
    """A target, the fields about it and the procedure's numbers for its nerve.

    Attributes
    ----------
    needle : Needle or None
        The one that is meant; None stands for the procedure's stock, whose thickest shaft is then kept clear.
    position : str
        PatientPosition of the scan; empty where it is not known.
    """

    spine: Spine
    fields: PathFields
    target: Target
    procedure: Procedure
    needle: Needle | None = None
    position: str = ""

    @cached_property
    def inverse(self) -> Array:
        """(3, 3) mm to voxel indices of the fields."""
        return self.fields.inverse

    @cached_property
    def origin(self) -> Array:
        """(3,) LPS mm of the fields' first voxel."""
        return self.fields.origin

    @cached_property
    def frame(self) -> VertebralFrame:
        """The carrier's frame."""
        return frame_of(self.target)

    @cached_property
    def band(self) -> AngleBand:
        """The angle band of the target."""
        return self.procedure.band(self.target.aim)

    @cached_property
    def radius(self) -> float:
        """The needle's radius, mm."""
        needles = self.procedure.stock if self.needle is None else (self.needle,)
        return 0.5 * max(needle.diameter_mm for needle in needles)

    @cached_property
    def longest_path(self) -> float:
        """Deepest tip that the longest needle, or the one that is meant, reaches with the hard reserve left, mm."""
        if self.needle is None or self.needle.length_mm is None:
            return longest_path(self.procedure)
        return self.needle.length_mm - self.procedure.reach.reserve_hard.value

    @cached_property
    def contact_gap(self) -> float:
        """Distance of a tip's axis from bone at which the needle rests on it, mm: the surface of a thick one does."""
        return max(_CONTACT_GAP_MM, self.radius - self.procedure.tip.bone_overlap.value)

    @cached_property
    def lateral(self) -> Array:
        """(3,) unit LPS away from the midline on the target's side: through both junctions, else the frame's."""
        marks = self.target.carrier.landmarks
        side = self.target.side
        near = marks.get(LandmarkName(f"sap_tp_junction_{side.value.lower()}"))
        far = marks.get(LandmarkName(f"sap_tp_junction_{side.other.value.lower()}"))
        if near is None or far is None:
            return self.frame.lateral(side)
        return unit(near.position - far.position)

    @property
    def region(self) -> TipRegion:
        """The space the tip must end in; only targets that are a space have one."""
        if self.target.region is None:
            raise ValueError(f"{self.target.id} is no space")
        return self.target.region

    @cached_property
    def neck_range(self) -> Interval:
        """The part of the neck an active tip should cover."""
        electrode = self.electrode
        return electrode.neck_l5 if self.target.nerve is Nerve.L5 else electrode.neck

    @property
    def electrode(self) -> Electrode:
        """The electrode rule; only radiofrequency procedures have one."""
        if self.procedure.electrode is None:
            raise ValueError(f"{self.procedure.name} has no electrode")
        return self.procedure.electrode

    @cached_property
    def active(self) -> float:
        """Length of the active tip, mm."""
        return (self.needle or self.procedure.stock[0]).active_tip_mm or 0.0

    @cached_property
    def has_course(self) -> bool:
        """Whether the nerve's course is known; not for targets placed by hand."""
        return len(self.target.course.path) > 1

    @cached_property
    def neck_length(self) -> float:
        """Length of the neck from its ventral margin to the notch, mm; 0 when it was not found."""
        return float(np.linalg.norm(self.target.course.neck[1] - self.target.course.neck[0]))

    @cached_property
    def nerve(self) -> Array:
        """(k, 3) LPS mm, dense points of the course."""
        path = self.target.course.path
        return np.ascontiguousarray(sample_path(path) if self.has_course else np.empty((0, 3)))

    @cached_property
    def wanted(self) -> NDArray[np.bool_]:
        """(k,) whether each dense point lies on the part of the neck to cover; the run over the lamina is past it."""
        if not len(self.nerve) or self.neck_length == 0.0:
            return np.zeros(len(self.nerve), np.bool_)
        t = neck_fraction(self.target.course, self.nerve)
        notch = int(np.argmin(np.linalg.norm(self.nerve - self.target.course.neck[1], axis=1)))
        on_neck = np.arange(len(t)) <= notch
        return np.ascontiguousarray((t >= self.neck_range.low) & (t <= self.neck_range.high) & on_neck)

    @cached_property
    def nerve_middle(self) -> tuple[Array, Array]:
        """Middle of the part to cover, (3,) mm, and the nerve's direction there, dorsal to ventral, (3,) unit.

        Without course points on that part, the neck's own line stands in.
        """
        points = self.nerve[self.wanted]
        ventral, dorsal = self.target.course.neck
        if len(points) < 4:
            middle = 0.5 * (self.neck_range.low + self.neck_range.high)
            return ventral + middle * (dorsal - ventral), unit(ventral - dorsal)
        return points[len(points) // 2], unit(points[0] - points[-1])

    @property
    def lesion_ahead(self) -> float | None:
        """How far beyond the tip the centre of a near-spherical lesion lies, mm; None for any other needle."""
        electrode = self.procedure.electrode
        return None if electrode is None or electrode.lesion_ahead is None else electrode.lesion_ahead.value

    @property
    def working(self) -> tuple[float, float]:
        """The part of the needle that acts: how far beyond the tip it ends, and how long it is, mm."""
        return (0.0, self.active) if self.lesion_ahead is None else (self.lesion_ahead, 0.0)

    @property
    def past_the_tip(self) -> float:
        """How far past either end of the active tip the nerve still counts as caught, mm."""
        beyond = self.procedure.capture.beyond
        return 0.0 if beyond is None else beyond.value

    def caught(self, gaps: Array) -> Array:
        """(n,) probability of capture for needles whose axes pass the nerve at (n,) mm, as a share of one on it.

        By errors equal in every direction across the nerve: a figure to rank by, read off a table.
        """
        return np.asarray(np.interp(gaps, self._caught[0], self._caught[1]))

    @cached_property
    def _caught(self) -> tuple[Array, Array]:
        """Distances of the axis to the nerve, mm, and the share of the best probability there."""
        capture, gaps = self.procedure.capture, np.arange(0.0, _FARTHEST_MM, 0.1)
        own = float(np.trace(self.target.covariance)) / 3.0
        place = 0.0 if capture.ranked_sigma is None else capture.ranked_sigma.value
        variance = own + place**2
        p = ncx2.cdf(capture.radius.value**2 / variance, 2, gaps**2 / variance)
        return gaps, p / p[0]

    @property
    def working_words(self) -> str:
        """The working part in a sentence."""
        return "the active tip lies" if self.lesion_ahead is None else "the lesion's centre lies"

    @cached_property
    def heat_reach(self) -> Array:
        """(m, 3) mm: offsets back from the end of the working part and the radii of the hot and warm zones there."""
        if self.lesion_ahead is not None:
            return np.array([[0.0, self.electrode.hot_radius.value, self.electrode.warm_radius.value]])
        rule, half = self.electrode, 0.5 * self.active
        rows = []
        for back in np.linspace(0.0, self.active, 11):
            offset = half - float(back)
            rows.append((float(back), ellipsoid_reach(offset, half + rule.hot_distal.value, rule.hot_radius.value),
                         ellipsoid_reach(offset, half + rule.warm_distal.value, rule.warm_radius.value)))
        return np.array(rows)

    def bone_normal(self, point: Array) -> Array:
        """(3,) unit LPS pointing away from bone at a point, by central differences of 1 mm along the frame."""
        axes = self.frame.matrix
        steps = np.concatenate([axes, -axes])
        values = sample_many(self.fields.bones, self.inverse, self.origin, point + steps)
        slope = (values[:3] - values[3:]) @ axes
        return unit(slope) if np.linalg.norm(slope) > 1e-3 else self.frame.lateral(self.target.side)
