"""What `verify` finds: every changed, removed or moved byte that a hash covers; and what it says it cannot find."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import SimpleITK as sitk
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from imaging.errors import AlteredError, UsageError
from planner import record as record_module
from planner.cli import app
from planner.exit_codes import ExitCode
from planner.fold import fold
from planner.folder import dump
from planner.journal import Entry, check_journal, head_of, journal_lines, parse_journal, proposed_entry
from planner.review import Review
from planner.signing import KeySigner, read_public_key
from planner.verifying import verify_folder

LEFT = "lumbar-medial-branch-block:L4-MB:L5:LEFT"
RIGHT = "lumbar-medial-branch-block:L4-MB:L5:RIGHT"


def clock() -> datetime:
    return datetime(2026, 2, 1, 12, tzinfo=UTC)


@pytest.fixture
def keys(tmp_path: Path) -> tuple[Path, Path]:
    """A private and a public key file."""
    key = Ed25519PrivateKey.generate()
    private, public = tmp_path / "key.pem", tmp_path / "key.pub"
    private.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8,
                                          serialization.NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(serialization.Encoding.PEM,
                                                     serialization.PublicFormat.SubjectPublicKeyInfo))
    return private, public


@pytest.fixture
def reviewed(folder: Path) -> Path:
    """A folder with five entries."""
    review = Review.open(folder, volume=False, clock=clock)
    review.approve(LEFT, "A. Reader", "physician", "LEFT")
    review.lock(RIGHT, "A. Reader")
    review.reject(RIGHT, "B. Reader", "wrong level")
    review.reopen(RIGHT, "B. Reader")
    return folder


def small_journal(count: int = 5) -> tuple[Entry, ...]:
    """A chain of small entries, as every journal is made."""
    entries = [proposed_entry({"proposals": [], "targets": []}, "2026-11-01T10:00:00+00:00", {"nerveplan": "0"})]
    for n in range(1, count):
        entries.append(Entry(entries[-1].hash, {"state": "rejected", "target_id": f"t{n}"}, "A. Reader", "physician",
                             f"2026-11-01T10:00:0{n}+00:00", {"nerveplan": "0"}, f"reason {n}"))
    return tuple(entries)


@pytest.mark.parametrize("mask", [0x01, 0x20, 0x80])
def test_every_byte_of_a_journal_that_is_flipped_is_found_and_its_line_named(mask: int) -> None:
    data = journal_lines(small_journal())
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= mask
        number = data[:at].count(b"\n") + 1
        with pytest.raises(AlteredError, match=rf"line ({number}|{number + 1}) "):
            parse_journal(bytes(changed))


def test_every_byte_removed_or_added_is_found() -> None:
    data = journal_lines(small_journal(3))
    for at in range(len(data)):
        with pytest.raises(AlteredError):
            parse_journal(data[:at] + data[at + 1:])
        with pytest.raises(AlteredError):
            parse_journal(data[:at] + b" " + data[at:])


def test_every_line_dropped_swapped_or_doubled_is_found() -> None:
    entries = small_journal(6)
    lines = [entry.line for entry in entries]
    carried = {"length": len(entries), "head": head_of(entries)}

    def check(changed: list[bytes]) -> None:
        check_journal(parse_journal(b"".join(changed)), carried)

    check(lines)
    for n in range(len(lines)):
        with pytest.raises(AlteredError):
            check(lines[:n] + lines[n + 1:])
        with pytest.raises(AlteredError):
            check([*lines[:n], lines[n], *lines[n:]])
        for m in range(n):
            swapped = lines.copy()
            swapped[n], swapped[m] = swapped[m], swapped[n]
            with pytest.raises(AlteredError):
                check(swapped)


def test_an_untouched_folder_is_unaltered(reviewed: Path) -> None:
    found = verify_folder(reviewed)
    assert found.problems == ()
    assert found.entries == 5
    assert any("no entry is signed" in note for note in found.notes)
    assert any("the report shows the plan after entry 1 of 5" in note for note in found.notes)


@pytest.mark.parametrize("name", ["plan.json", "run.json", "source.json", "report.html", "labels.nii.gz", "body.nii.gz",
                                  "reconstructed.nii.gz", "structures/canal.nii.gz", "journal.jsonl"])
def test_a_changed_byte_in_any_file_is_found_and_the_file_named(reviewed: Path, name: str) -> None:
    path = reviewed / name
    os.chmod(path, stat.S_IRUSR | stat.S_IWUSR)
    data = path.read_bytes()
    for at in (0, len(data) // 3, len(data) // 2, len(data) - 1):
        changed = bytearray(data)
        changed[at] ^= 0x01
        path.write_bytes(bytes(changed))
        assert name in {problem.file for problem in verify_folder(reviewed).problems}, at
    path.write_bytes(data)
    assert not verify_folder(reviewed).altered


def test_a_missing_and_an_added_file_are_found(reviewed: Path) -> None:
    (reviewed / "structures" / "canal.nii.gz").rename(reviewed / "structures" / "aorta.nii.gz")
    sentences = {problem.sentence for problem in verify_folder(reviewed).problems}
    assert sentences == {"structures/canal.nii.gz is missing", "structures/aorta.nii.gz was added: no entry records it"}


def test_a_forged_figure_says_where_it_is(reviewed: Path) -> None:
    plan = json.loads((reviewed / "plan.json").read_bytes())
    plan["targets"][0]["side"] = "RIGHT"
    (reviewed / "plan.json").write_bytes(dump(plan))
    assert [p.sentence for p in verify_folder(reviewed).problems] == [
        "plan.json differs from what the journal says, in targets"]


def test_a_broken_line_is_named_and_the_rest_still_read(reviewed: Path) -> None:
    path = reviewed / "journal.jsonl"
    path.write_bytes(path.read_bytes().replace(b"wrong level", b"right level"))
    found = verify_folder(reviewed)
    assert [(p.file, p.entry) for p in found.problems[:1]] == [("journal.jsonl", 4)]
    assert found.entries == 3


def _rewritten(folder: Path, change: Callable[[Entry], Entry], keep: int = 10**6) -> None:
    """The whole record made anew around a change, every hash with it."""
    entries: list[Entry] = []
    for entry in parse_journal((folder / "journal.jsonl").read_bytes())[:keep]:
        entries.append(replace(change(entry), prev=entries[-1].hash if entries else ""))
    (folder / "journal.jsonl").write_bytes(journal_lines(entries))
    (folder / "plan.json").write_bytes(dump(fold(entries).document()))


def _renamed(entry: Entry) -> Entry:
    return entry if entry.by_machine else replace(entry, who="Z. Forger")


def test_a_record_rewritten_as_a_whole_is_found_by_a_head_kept_elsewhere_only(reviewed: Path) -> None:
    head = verify_folder(reviewed).head
    assert not verify_folder(reviewed, head=head).altered
    _rewritten(reviewed, _renamed)
    assert not verify_folder(reviewed).altered
    assert "not in this journal" in verify_folder(reviewed, head=head).problems[0].sentence


def test_a_head_kept_elsewhere_finds_a_cut_tail(reviewed: Path) -> None:
    head = verify_folder(reviewed).head
    _rewritten(reviewed, lambda entry: entry, keep=3)
    assert not verify_folder(reviewed).altered
    assert verify_folder(reviewed, head=head).altered


def test_signatures_find_a_record_rewritten_as_a_whole(folder: Path, keys: tuple[Path, Path]) -> None:
    public = read_public_key(keys[1])
    review = Review.open(folder, volume=False, clock=clock, signer=KeySigner.read(keys[0]))
    review.reject(RIGHT, "B. Reader", "wrong level")
    review.approve(LEFT, "A. Reader", "physician", "LEFT")
    found = verify_folder(folder, public)
    assert (found.altered, found.signed_through) == (False, 3)
    other = Ed25519PrivateKey.generate().public_key().public_bytes_raw().hex()
    assert "no entry is signed with the key given" in verify_folder(folder, other).problems[0].sentence
    _rewritten(folder, _renamed)
    assert [p.entry for p in verify_folder(folder).problems] == [2, 3]

    def stripped(entry: Entry) -> Entry:
        body = {name: value for name, value in entry.body.items() if name != "signed_by"}
        return replace(_renamed(entry), body=body, signature="")

    _rewritten(folder, stripped)
    assert not verify_folder(folder).altered
    assert verify_folder(folder, public).altered


def test_a_signature_taken_off_is_found(folder: Path, keys: tuple[Path, Path]) -> None:
    review = Review.open(folder, volume=False, clock=clock, signer=KeySigner.read(keys[0]))
    review.approve(LEFT, "A. Reader", "physician", "LEFT")
    path = folder / "journal.jsonl"
    entries = parse_journal(path.read_bytes())
    path.write_bytes(journal_lines((entries[0], replace(entries[1], signature=""))))
    assert [p.entry for p in verify_folder(folder).problems] == [2]


def test_entries_after_the_last_signature_are_said_and_not_covered(folder: Path, keys: tuple[Path, Path]) -> None:
    Review.open(folder, volume=False, clock=clock, signer=KeySigner.read(keys[0])).approve(
        LEFT, "A. Reader", "physician", "LEFT")
    Review.open(folder, volume=False, clock=clock).reject(RIGHT, "B. Reader", "wrong level")
    assert any("entries after 2 are not signed" in note for note in verify_folder(folder).notes)
    assert verify_folder(folder, read_public_key(keys[1])).problems[0].entry == 3


def test_a_key_that_is_none_is_a_usage_error(tmp_path: Path, keys: tuple[Path, Path]) -> None:
    (tmp_path / "note.txt").write_text("not a key")
    with pytest.raises(UsageError, match="PEM"):
        KeySigner.read(tmp_path / "note.txt")
    with pytest.raises(UsageError, match="PEM"):
        read_public_key(keys[0])


def test_the_command_line_reviews_and_verifies(folder: Path, keys: tuple[Path, Path]) -> None:
    run = CliRunner().invoke
    common = ["--who", "A. Reader", "--role", "physician"]
    scan_age = ["--override", "scan_age=tested on an old phantom"]
    wrong = run(app, ["approve", str(folder), "L4-MB:L5:LEFT", "--side", "right", *common])
    assert wrong.exit_code == ExitCode.USAGE
    assert "LEFT" in wrong.output
    assert run(app, ["reject", str(folder), "L4-MB", "--reason", "x", *common]).exit_code == ExitCode.USAGE
    age = Review.open(folder).limits(LEFT)
    done = run(app, ["approve", str(folder), "L4-MB:L5:LEFT", "--side", "left", "--sign-key", str(keys[0]), *common,
                     *(scan_age if age else [])])
    assert done.exit_code == ExitCode.OK, done.output
    assert "APPROVED by A. Reader" in done.output
    assert "APPROVED by A. Reader" in (folder / "report.html").read_text()
    shown = json.loads(run(app, ["history", str(folder), "--json"]).output)
    assert [line["kind"] for line in shown] == ["proposed", "approved", "rendered"]
    checked = run(app, ["verify", str(folder), "--public-key", str(keys[1])])
    assert checked.exit_code == ExitCode.OK, checked.output
    assert "are not signed" not in checked.output
    assert "A typed name is not an identity" in run(app, ["history", str(folder)]).output
    (folder / "run.json").write_bytes((folder / "run.json").read_bytes().replace(b'"read"', b'"reed"'))
    bad = run(app, ["verify", str(folder)])
    assert bad.exit_code == ExitCode.ALTERED
    assert "ALTERED: run.json" in bad.output


def test_an_older_report_put_back_is_found(folder: Path) -> None:
    review = Review.open(folder, volume=False, clock=clock)
    review.approve(LEFT, "A. Reader", "physician", "LEFT")
    review.draw_report()
    approved = (folder / "report.html").read_bytes()
    review.reject(LEFT, "B. Reader", "wrong level")
    review.draw_report()
    assert not verify_folder(folder).altered
    (folder / "report.html").write_bytes(approved)
    assert [p.file for p in verify_folder(folder).problems] == ["report.html"]


@pytest.mark.parametrize("at", ["put_staged", "replace_file"])
def test_a_report_whose_saving_was_killed_is_finished(at: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the journal named the new report, or after the report was put in place but for ``plan.json``."""
    review = Review.open(folder, volume=False, clock=clock)
    review.approve(LEFT, "A. Reader", "physician", "LEFT")
    real = record_module.replace_file

    def kill(path: Path, *_: object) -> None:
        if at == "put_staged" or path.name == "plan.json":
            raise KeyboardInterrupt
        real(path, *_)

    with monkeypatch.context() as patch:
        patch.setattr(record_module, at, kill)
        with pytest.raises(KeyboardInterrupt):
            review.draw_report()
    assert ("APPROVED by" in (folder / "report.html").read_text()) == (at == "replace_file")
    assert not verify_folder(folder).altered
    Review.open(folder, volume=False)
    assert "APPROVED by" in (folder / "report.html").read_text()
    found = verify_folder(folder)
    assert not found.altered
    assert not any("draw it again" in note or "not written yet" in note for note in found.notes)


@pytest.mark.parametrize("name", ["labels.nii.gz", "body.nii.gz", "structures/canal.nii.gz"])
def test_nothing_is_approved_drawn_or_exported_over_a_changed_mask(name: str, folder: Path, tmp_path: Path) -> None:
    mask = sitk.ReadImage(str(folder / name))
    sitk.WriteImage(mask * 0, str(folder / name), True, 1)
    before = (folder / "journal.jsonl").read_bytes()
    for command in (["approve", LEFT, "--side", "left", "--who", "A"], ["report"],
                    ["export", "--to", "csv", "--out", str(tmp_path / "out")]):
        result = CliRunner().invoke(app, [command[0], str(folder), *command[1:]])
        assert result.exit_code == ExitCode.ALTERED, result.output
        assert f"{name} in 'case' was changed" in result.output
    assert (folder / "journal.jsonl").read_bytes() == before
    assert not (tmp_path / "out").exists()
