"""Folders of another version of the plan: refused in words, never taken for altered, never converted."""

from __future__ import annotations

from pathlib import Path

import pytest
from typer.testing import CliRunner

from imaging.errors import AlteredError
from planner.cli import app
from planner.exit_codes import ExitCode
from planner.loading import load_plan
from planner.review import Review
from planner.verifying import verify_folder
from planner.versions import PLAN_SCHEMA, PlanVersionError

OURS = int(PLAN_SCHEMA.rpartition("/")[2])


def rewrite(folder: Path, version: int, *names: str) -> None:
    """Say another version in these files, the first place that says one in each."""
    for name in names:
        path = folder / name
        path.write_bytes(path.read_bytes().replace(PLAN_SCHEMA.encode(), f"nerveplan/plan/{version}".encode(), 1))


@pytest.mark.parametrize(("version", "words"), [
    (OURS - 1, "plan the study again into another folder, or open this one with the nerveplan that wrote it"),
    (OURS + 1, "open it with a nerveplan at least as new as the one that wrote it")])
def test_another_version_is_refused_with_both_numbers_and_what_to_do(folder: Path, version: int, words: str) -> None:
    rewrite(folder, version, "plan.json", "journal.jsonl")
    before = {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    for opens in (load_plan, Review.open, verify_folder):
        with pytest.raises(PlanVersionError) as refused:
            opens(folder)
        said = str(refused.value)
        assert f"'{folder.name}' has version {version} of the plan folder, written by nerveplan " in said
        assert f"reads version {OURS} only: {words}" in said
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()} == before


def test_the_command_line_refuses_it_and_does_not_call_it_altered(folder: Path) -> None:
    rewrite(folder, OURS - 1, "plan.json", "journal.jsonl")
    for command in ("verify", "history"):
        done = CliRunner().invoke(app, [command, str(folder)])
        assert done.exit_code == ExitCode.REFUSED
        assert f"reads version {OURS} only" in " ".join(done.output.split())


def test_a_version_that_plan_and_journal_do_not_share_is_an_alteration(folder: Path) -> None:
    rewrite(folder, OURS + 1, "plan.json")
    with pytest.raises(AlteredError):
        load_plan(folder)
    assert verify_folder(folder).altered
    rewrite(folder, OURS + 1, "journal.jsonl")
    with pytest.raises(PlanVersionError):
        verify_folder(folder)
