"""Landmarks of one bone from its surface, with covariance and confidence; definitions as the readers' protocol.

Two methods: bone geometry (``profile`` finds concave corners of an outline, ``processes`` the pedicle and the ends of
the processes, ``junction`` the crotch of the articular and the transverse process, ``sacrum`` the ala groove) and a
template laid on the bone (``warp`` registers, ``atlas`` holds the templates). ``fuse`` joins them, ``cortex`` moves
surface points onto the bone's edge in the scan, ``find`` puts it all together.
"""

from segmentation.landmarks.cortex import Cortex
from segmentation.landmarks.find import BoneLandmarks, SideAnatomy, find_presacral, find_sacral
from segmentation.landmarks.processes import Pedicle

__all__ = ["BoneLandmarks", "Cortex", "Pedicle", "SideAnatomy", "find_presacral", "find_sacral"]
