"""The engine that ships with the package: two small nets, a walk along the chain, names from evidence."""

from segmentation.builtin.engine import BuiltinEngine

__all__ = ["BuiltinEngine"]
