"""The vocabulary of the spine: levels, label numbers, nerves, the bones that carry them and the joints they serve."""

from __future__ import annotations

import tomllib
from enum import StrEnum
from functools import cache
from importlib import resources

from imaging.errors import UsageError
from imaging.geometry import Side

__all__ = [
    "LUMBAR_NERVES", "RELATIVE_PREFIX", "VERSE_LABEL", "LandmarkName", "Level", "Nerve", "StructureName", "carrier_of",
    "foramen_landmark", "is_relative", "joints_of", "joint_names", "nerves_of_joint", "parse_joint", "parse_nerve",
    "relative_label", "relative_level",
]

_DATA_PACKAGE = "segmentation.data"


class Level(StrEnum):
    """A named vertebra. The sacrum's level is always ``S1``."""

    C1 = "C1"
    C2 = "C2"
    C3 = "C3"
    C4 = "C4"
    C5 = "C5"
    C6 = "C6"
    C7 = "C7"
    T1 = "T1"
    T2 = "T2"
    T3 = "T3"
    T4 = "T4"
    T5 = "T5"
    T6 = "T6"
    T7 = "T7"
    T8 = "T8"
    T9 = "T9"
    T10 = "T10"
    T11 = "T11"
    T12 = "T12"
    T13 = "T13"
    L1 = "L1"
    L2 = "L2"
    L3 = "L3"
    L4 = "L4"
    L5 = "L5"
    L6 = "L6"
    S1 = "S1"


class Nerve(StrEnum):
    """A nerve that can be targeted.

    Medial branches (MB), the third occipital nerve and the L5 dorsal ramus (DR); spinal nerves in their foramina (SN);
    basivertebral nerves (BVN); the sacral lateral branches of S1 to S3 together (LB).
    """

    TON = "TON"
    C3 = "C3 MB"
    C4 = "C4 MB"
    C5 = "C5 MB"
    C6 = "C6 MB"
    C7 = "C7 MB"
    C8 = "C8 MB"
    T1 = "T1 MB"
    T2 = "T2 MB"
    T3 = "T3 MB"
    T4 = "T4 MB"
    T5 = "T5 MB"
    T6 = "T6 MB"
    T7 = "T7 MB"
    T8 = "T8 MB"
    T9 = "T9 MB"
    T10 = "T10 MB"
    T11 = "T11 MB"
    T12 = "T12 MB"
    L1 = "L1 MB"
    L2 = "L2 MB"
    L3 = "L3 MB"
    L4 = "L4 MB"
    L5 = "L5 DR"
    T12_SN = "T12 SN"
    L1_SN = "L1 SN"
    L2_SN = "L2 SN"
    L3_SN = "L3 SN"
    L4_SN = "L4 SN"
    L5_SN = "L5 SN"
    S1_SN = "S1 SN"
    L3_BVN = "L3 BVN"
    L4_BVN = "L4 BVN"
    L5_BVN = "L5 BVN"
    S1_BVN = "S1 BVN"
    SACRAL_LB = "S1-S3 LB"


class LandmarkName(StrEnum):
    """Points on one vertebra; definitions as the readers' protocol, see ``segmentation/landmarks.py``."""

    SAP_TP_JUNCTION_LEFT = "sap_tp_junction_left"
    SAP_TP_JUNCTION_RIGHT = "sap_tp_junction_right"
    SAP_TIP_LEFT = "sap_tip_left"
    SAP_TIP_RIGHT = "sap_tip_right"
    TP_TIP_LEFT = "tp_tip_left"
    TP_TIP_RIGHT = "tp_tip_right"
    PEDICLE_CENTER_LEFT = "pedicle_center_left"
    PEDICLE_CENTER_RIGHT = "pedicle_center_right"
    MAMILLO_ACCESSORY_NOTCH_LEFT = "mamillo_accessory_notch_left"
    MAMILLO_ACCESSORY_NOTCH_RIGHT = "mamillo_accessory_notch_right"
    SPINOUS_TIP = "spinous_tip"
    POSTERIOR_FORAMEN_S1_LEFT = "posterior_foramen_s1_left"
    POSTERIOR_FORAMEN_S1_RIGHT = "posterior_foramen_s1_right"
    POSTERIOR_FORAMEN_S2_LEFT = "posterior_foramen_s2_left"
    POSTERIOR_FORAMEN_S2_RIGHT = "posterior_foramen_s2_right"
    POSTERIOR_FORAMEN_S3_LEFT = "posterior_foramen_s3_left"
    POSTERIOR_FORAMEN_S3_RIGHT = "posterior_foramen_s3_right"
    ANTERIOR_FORAMEN_S1_LEFT = "anterior_foramen_s1_left"
    ANTERIOR_FORAMEN_S1_RIGHT = "anterior_foramen_s1_right"
    ANTERIOR_FORAMEN_S2_LEFT = "anterior_foramen_s2_left"
    ANTERIOR_FORAMEN_S2_RIGHT = "anterior_foramen_s2_right"
    ANTERIOR_FORAMEN_S3_LEFT = "anterior_foramen_s3_left"
    ANTERIOR_FORAMEN_S3_RIGHT = "anterior_foramen_s3_right"


def foramen_landmark(face: str, segment: str, side: Side) -> LandmarkName:
    """The middle of a sacral foramen's opening: face "posterior" or "anterior", segment "S1" to "S3"."""
    return LandmarkName(f"{face}_foramen_{segment.lower()}_{side.value.lower()}")


class StructureName(StrEnum):
    """Structures a needle must keep away from; the value names the mask's file."""

    CANAL = "canal"
    FORAMEN_CONTENTS = "foramen_contents"
    SACRAL_FORAMINA = "sacral_foramina"
    AORTA = "aorta"
    VENA_CAVA = "vena_cava"
    KIDNEYS = "kidneys"
    LUNGS = "lungs"
    BOWEL_GAS = "bowel_gas"
    RIBS = "ribs"
    ILIAC_BONES = "iliac_bones"
    METAL = "metal"


_PRESACRAL = [level for level in Level if level not in (Level.T13, Level.L6, Level.S1)]
#: VerSe numbering of labels.nii.gz: 1-7 C1-C7, 8-19 T1-T12, 28 T13, 20-24 L1-L5, 25 L6, 26 sacrum.
VERSE_LABEL: dict[Level, int] = {level: n + 1 for n, level in enumerate(_PRESACRAL)} | {
    Level.L6: 25, Level.S1: 26, Level.T13: 28}
#: The nerves planned by default, head to foot.
LUMBAR_NERVES: tuple[Nerve, ...] = (Nerve.T12, Nerve.L1, Nerve.L2, Nerve.L3, Nerve.L4, Nerve.L5)
RELATIVE_PREFIX = "LLV-"


def relative_level(steps_above_last: int) -> str:
    """Name of a vertebra when levels are unknown: LLV-0 is the last lumbar-type vertebra seen, LLV-1 above it."""
    return f"{RELATIVE_PREFIX}{steps_above_last}"


def relative_label(steps_above_last: int) -> int:
    """Label value of a relative level: 101 for the lowest, 102 above it."""
    return 101 + steps_above_last


def is_relative(name: str) -> bool:
    """True for LLV-n."""
    return name.startswith(RELATIVE_PREFIX)


@cache
def _tables() -> tuple[dict[Nerve, Level], dict[str, tuple[Nerve, ...]]]:
    data = tomllib.loads(resources.files(_DATA_PACKAGE).joinpath("numbering.toml").read_text(encoding="utf-8"))
    carrier = {Nerve(nerve): Level(level) for nerve, level in data["carrier"].items()}
    joints = {joint: tuple(Nerve(n) for n in nerves) for joint, nerves in data["joint"].items()}
    return carrier, joints


def carrier_of(nerve: Nerve) -> Level:
    """The bone on which a nerve is targeted.

    The vertebra below for thoracic and lumbar medial branches; the vertebra under whose pedicle a spinal nerve leaves;
    a basivertebral nerve's own.
    """
    return _tables()[0][nerve]


def joint_names() -> tuple[str, ...]:
    """Every facet joint known, head to foot, such as ``"L4/5"``."""
    return tuple(_tables()[1])


def nerves_of_joint(joint: str) -> tuple[Nerve, ...]:
    """The nerves that serve a joint, e.g. L4/5 -> L3 MB (at L4) and L4 MB (at L5)."""
    return _tables()[1][parse_joint(joint)]


def joints_of(nerve: Nerve) -> tuple[str, ...]:
    """The joints a nerve serves, head to foot."""
    return tuple(joint for joint, nerves in _tables()[1].items() if nerve in nerves)


def parse_joint(text: str) -> str:
    """Accept ``L4/5``, ``L4-5``, ``l4/l5``, ``L5-S1``; anything else is a UsageError that lists the joints."""
    def squeeze(name: str) -> str:
        upper = name.upper().replace(" ", "").replace("-", "/")
        if "/" in upper:
            above, below = upper.split("/", 1)
            below = below.removeprefix(above[:1]) if below[:1] == above[:1] else below
            return f"{above}/{below}"
        return upper

    wanted = squeeze(text)
    for joint in joint_names():
        if squeeze(joint) == wanted:
            return joint
    raise UsageError(f"'{text}' is not a facet joint; say one of {', '.join(joint_names())}")


def parse_nerve(text: str) -> Nerve:
    """Accept ``L4 MB``, ``L4-MB``, ``L5 DR``, ``TON``; a bare vertebra is refused with its three readings."""
    def squeeze(name: str) -> str:
        return " ".join(name.upper().replace("-", " ").replace("_", " ").split())

    wanted = squeeze(text)
    for nerve in Nerve:
        if squeeze(nerve.value) == wanted:
            return nerve
    levels = {level.value for level in Level}
    if wanted in levels:
        own = next((n for n in Nerve if n.value.split()[0] == wanted), None)
        on_bone = [n.value for n in Nerve if carrier_of(n).value == wanted]
        joints = [j for j in joint_names() if j.startswith(f"{wanted}/")]
        raise UsageError(
            f"'{text}' can mean the nerve ({own.value if own else 'none'}, targeted on "
            f"{carrier_of(own).value if own else 'no bone here'}), the bone ({wanted} carries "
            f"{', '.join(on_bone) or 'none'}) or a joint ({', '.join(joints) or 'none'}); say --nerve "
            f"\"{own.value if own else 'L4 MB'}\" or --joint {joints[0] if joints else 'L4/5'}")
    raise UsageError(f"'{text}' is not a nerve; say one of {', '.join(n.value for n in Nerve)}")
