"""The JSON schemas of the plan folder, and the check that every written document passes."""

from __future__ import annotations

import json
from enum import StrEnum
from functools import cache
from importlib import resources
from typing import Any

from jsonschema import Draft202012Validator

__all__ = ["SchemaName", "load_schema", "validate"]


class SchemaName(StrEnum):
    """The documents of a plan folder; the value names the file in ``planner/schema/``."""

    PLAN = "plan"
    RUN = "run"
    SOURCE = "source"
    JOURNAL = "journal"


@cache
def _validator(name: SchemaName) -> Draft202012Validator:
    schema = load_schema(name)
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def load_schema(name: SchemaName) -> dict[str, Any]:
    """One schema as a document."""
    text = resources.files("planner.schema").joinpath(f"{name.value}.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def validate(document: Any, name: SchemaName) -> None:
    """Raise ValueError at the first place where a document departs from its schema."""
    error = next(iter(_validator(name).iter_errors(document)), None)
    if error is not None:
        raise ValueError(f"{name.value}.json at {error.json_path}: {error.message[:200]}")
