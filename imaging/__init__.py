"""Reads: DICOM and NIfTI/NRRD/MHA in, `Volume`, the one geometry module, input quality findings.

World is DICOM LPS in millimetres, arrays are ``(z, y, x)``, points are ``(x, y, z)``. `imaging.geometry` owns every
conversion between voxel, world, vertebral frame and C-arm angles; no other module multiplies an affine.
"""
