"""Targets that are not a nerve on a bone: facet joints, vertebral bodies. One module per kind of place.

Each finds its place from the anatomy of the scan; where that cannot be established the target is missing, and why.
"""
