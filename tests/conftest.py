"""Shared fixtures: where the real scans are, and plans that are made once per session."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

DATA = Path(os.environ.get("NERVEPLAN_TEST_DATA", Path(__file__).resolve().parents[1] / ".." / "shared" / "data"))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs the real scans where they are absent, with the reason."""
    if DATA.is_dir():
        return
    skip = pytest.mark.skip(reason=f"real scans not found at {DATA}; set NERVEPLAN_TEST_DATA")
    for item in items:
        if item.get_closest_marker("data"):
            item.add_marker(skip)


@pytest.fixture(scope="session")
def data() -> Path:
    """Folder of the real scans and label maps."""
    return DATA.resolve()
