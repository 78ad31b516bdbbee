"""What a procedure aims at, and the rules of those targets that are not a nerve on a bone."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from segmentation.anatomy import Nerve
from targeting.constants import Constant, Interval

__all__ = [
    "SITE_RULES", "SUPERIOR_NERVES", "BodyRule", "FacetRule", "ForamenRule", "PalisadeRule", "Quadrant",
    "SacralForamenRule", "SacralRule", "Site", "SiteRule",
]


class Site(StrEnum):
    """Kind of target."""

    NERVE = "nerve"
    FACET_JOINT = "facet_joint"
    FORAMEN = "foramen"
    VERTEBRAL_BODY = "vertebral_body"
    SACRAL_FORAMEN = "sacral_foramen"
    SACRAL_ROW = "sacral_row"


class Quadrant(StrEnum):
    """Part of a foramen, seen from the side."""

    POSTEROSUPERIOR = "posterosuperior"
    POSTEROINFERIOR = "posteroinferior"


#: Clinical specification rule 26: the superior half of the foramina of T8 to L3, where 96-97 percent of the arteries to
#: the cord run (Murthy 2010, Gregg 2017), is never aimed at; no procedure file can change that.
SUPERIOR_NERVES = (Nerve.L4_SN, Nerve.L5_SN)


@dataclass(frozen=True)
class SiteRule:
    """What every space has in common.

    Attributes
    ----------
    sigma : Constant
        One standard deviation of the place along each axis, mm.
    wide, low_confidence : Constant
        A 95 % region beyond `wide` mm, or a cut vertebra, lowers the confidence to `low_confidence`.
    aim_gap, aims : Constant
        Least distance between two places aimed at, mm, and their greatest number.
    """

    sigma: Constant
    wide: Constant
    low_confidence: Constant
    aim_gap: Constant
    aims: Constant


@dataclass(frozen=True)
class FacetRule(SiteRule):
    """Where a needle may end in a facet joint.

    Attributes
    ----------
    gap, middle : Constant
        Widest space between two articular processes that counts as joint, and how far a place in it may lie off the
        middle surface, mm.
    lateral, below : Interval, Constant
        Where the joint is looked for: lateral of the tip of the superior articular process, and below it, mm.
    volume, height : Constant
        Less joint than this was not found, mm3 and mm.
    posterior_share : Constant
        Part of the joint line, from its posterior end, that a needle may enter.
    inside, beyond : Constant
        Deepest tip inside the joint from its posterior edge, and farthest tip outside its edge in the recess, mm.
    superior_share, inferior_share : Constant
        Parts of the joint's height, from above, that is left alone (its recess opens toward the canal), and from below,
        beside which the inferior recess lies.
    free : Constant
        A place in the recess lies at least this far from bone, mm.
    contrast, seen : Constant
        A joint space darker than the plates on both sides by this, HU, is seen; seen over less than this share of the
        joint it is doubtful.
    """

    gap: Constant
    middle: Constant
    lateral: Interval
    below: Constant
    volume: Constant
    height: Constant
    posterior_share: Constant
    inside: Constant
    beyond: Constant
    superior_share: Constant
    inferior_share: Constant
    free: Constant
    contrast: Constant
    seen: Constant


@dataclass(frozen=True)
class BodyRule(SiteRule):
    """Where a transpedicular tip may end in a vertebral body.

    Attributes
    ----------
    depth, height : Interval
        Share of the body's depth from its posterior wall and of its height from the inferior endplate.
    midline : Constant
        Farthest from the mid-sagittal plane, mm.
    wall, endplate : Constant
        Least distance to the posterior wall in space, and to either endplate, mm.
    cortex : Constant
        Bone left beyond the needle's surface on the pedicle's medial and inferior side, mm.
    thin_wall, thin_confidence : Constant
        Less bone than this many voxels left medially in the pedicle lowers the confidence to `thin_confidence`.
    pedicle_behind : Constant
        The pedicle's range reaches this far behind its isthmus, mm.
    """

    depth: Interval
    height: Interval
    midline: Constant
    wall: Constant
    endplate: Constant
    cortex: Constant
    thin_wall: Constant
    thin_confidence: Constant
    pedicle_behind: Constant


@dataclass(frozen=True)
class ForamenRule(SiteRule):
    """Where a tip may end in an intervertebral foramen.

    Attributes
    ----------
    lateral : Interval
        Of the middle of the upper pedicle, mm.
    height : Interval
        A foramen between the pedicles lower or higher than this was not found, mm.
    pedicle_clear, pedicle_beyond : Constant
        A place lies at least this far above the lower pedicle's upper edge, and at most so far lateral of the nearer
        lateral border of the two pedicles, mm.
    pedicles_agree : Constant
        A pedicle whose isthmus lies farther than this from its landmark was not found, mm.
    free : Constant
        A place lies at least this far from bone, mm.
    off_bone : Constant
        And within this distance of the carrier, mm.
    nerve_gap : Constant
        And at least this far from the modelled nerve, mm.
    modelled : Constant
        Confidence of a place that rests on a modelled nerve.
    """

    lateral: Interval
    height: Interval
    pedicle_clear: Constant
    pedicle_beyond: Constant
    pedicles_agree: Constant
    free: Constant
    off_bone: Constant
    nerve_gap: Constant
    modelled: Constant


@dataclass(frozen=True)
class SacralRule(SiteRule):
    """What a posterior sacral foramen is taken to be where a needle is aimed beside it or into it.

    Attributes
    ----------
    look_depth, open_share : Constant
        Its opening is where at least this share of the sacrum's first `look_depth` mm under the dorsal surface is soft.
    reach : Constant
        The opening lies within this distance of its middle, mm.
    """

    look_depth: Constant
    open_share: Constant
    reach: Constant


@dataclass(frozen=True)
class SacralForamenRule(SacralRule):
    """Where a tip may end in a posterior sacral foramen.

    Attributes
    ----------
    depth : Interval
        Under the dorsal surface, mm.
    front_gap : Constant
        Least distance to the plane of the anterior opening, mm.
    lateral, superior : Constant
        Not farther medial and not farther caudal of the opening's middle than this, mm.
    free, off_bone : Constant
        At least, and at most, this far from bone, mm.
    unseen : Constant
        Confidence of a place beside a nerve that is not seen.
    """

    depth: Interval
    front_gap: Constant
    lateral: Constant
    superior: Constant
    free: Constant
    off_bone: Constant
    unseen: Constant


@dataclass(frozen=True)
class PalisadeRule(SacralRule):
    """Where the tips of a row beside the posterior sacral foramina may end, and how its needles stand to each other.

    Attributes
    ----------
    beside, beside_goal : Interval, Constant
        Distance from the openings' rims, lateral, mm.
    spacing, spacing_most : Interval, Constant
        Distance from tip to tip, mm, and the largest from station to station along the row.
    along, on_bone : Constant, Interval
        A tip lies within `along` of its station along the row, and this far off the bone, mm.
    least_radius : Constant
        The rim lies at least this far lateral of an opening's middle, mm.
    rise : Constant
        The bone beside a foramen does not stand farther than this behind the rim: higher it is the iliac bone, mm.
    off_perpendicular : Constant
        Largest angle of a needle to the bone's normal, degrees.
    shaft_gap : Constant
        Least distance between the surfaces of two needles, mm.
    parallel : Constant
        Largest angle between neighbours, degrees.
    """

    beside: Interval
    beside_goal: Constant
    spacing: Interval
    spacing_most: Constant
    along: Constant
    on_bone: Interval
    least_radius: Constant
    rise: Constant
    off_perpendicular: Constant
    shaft_gap: Constant
    parallel: Constant


SITE_RULES: dict[Site, type[SiteRule]] = {
    Site.FACET_JOINT: FacetRule, Site.FORAMEN: ForamenRule, Site.VERTEBRAL_BODY: BodyRule,
    Site.SACRAL_FORAMEN: SacralForamenRule, Site.SACRAL_ROW: PalisadeRule}
