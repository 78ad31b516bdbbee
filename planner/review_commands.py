"""Commands on a plan folder: ``approve``, ``reject``, ``reopen``, ``choose``, ``history``, ``report``, ``verify``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from imaging.errors import UsageError
from planner.console import print_json, print_table, say, warn
from planner.exit_codes import ExitCode
from planner.options import Debug, Format, Json, TableFormat

if TYPE_CHECKING:
    from planner.plan import Plan
    from planner.review import Review

__all__ = ["add_review_commands"]

Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A plan folder.")]
TargetName = Annotated[str, typer.Argument(metavar="TARGET", help="A target's id or the end of it, such as "
                                                                  "L4-MB:L5:LEFT.")]
Who = Annotated[str, typer.Option("--who", metavar="NAME", help="Your name, recorded as typed.")]
Role = Annotated[str, typer.Option("--role", help="Your role, recorded as typed.")]
Reason = Annotated[str, typer.Option("--reason", help="Why.")]
Source = Annotated[Path | None, typer.Option("--source", metavar="PATH", help="Where the scan is now, if it moved.")]
SignKey = Annotated[Path | None, typer.Option("--sign-key", metavar="FILE", help="Ed25519 private key, PEM, to sign "
                                                                                "the entry with.")]
Overrides = Annotated[list[str] | None, typer.Option("--override", metavar="LIMIT=REASON", help="Accept a limit that "
                                                     "is not met, with a reason; repeatable.")]


def _open(folder: Path, source: Path | None, key: Path | None) -> Review:
    """A plan folder for review; what is done is signed when a key is given."""
    from planner.review import Review
    from planner.signing import KeySigner

    return Review.open(folder, source, signer=None if key is None else KeySigner.read(key))


def _target_id(plan: Plan, name: str) -> str:
    """A target by its id or the end of it; the side is always part of it."""
    wanted = name.upper()
    found = [p.target.id for p in plan.proposals
             if p.target.id.upper() == wanted or p.target.id.upper().endswith(":" + wanted)]
    if len(found) != 1:
        known = ", ".join(p.target.id for p in plan.proposals) or "none"
        raise UsageError(f"'{name}' is {'no' if not found else 'more than one'} target of this plan; it has: {known}")
    return found[0]


def _overrides(given: list[str] | None) -> dict[str, str]:
    out = {}
    for text in given or ():
        name, equals, reason = text.partition("=")
        if not equals or not name.strip() or not reason.strip():
            raise UsageError(f"'{text}' is not LIMIT=REASON, such as margin:canal=\"wide mask\"")
        out[name.strip()] = reason
    return out


def _done(review: Review, target_id: str) -> None:
    """Draw the report again and say where the target stands."""
    from planner.signoff import sign_off

    review.draw_report()
    proposal = next(p for p in review.plan.proposals if p.target.id == target_id)
    stands = sign_off(review.plan, target_id)
    say(f"{proposal.target.sentence}: {stands.short}")
    for line in stands.lines:
        say(f"  {line}")
    say(f"head {review.head} (written down elsewhere, it stands for the whole record)")


def approve(folder: Folder, target: TargetName,
            side: Annotated[str, typer.Option("--side", help="left or right, the patient's: typed, it must be the "
                                                             "target's.")],
            who: Who, role: Role = "", override: Overrides = None, reason: Reason = "", source: Source = None,
            sign_key: SignKey = None, debug: Debug = False) -> None:
    """Approve a target as it is shown; limits that are not met need --override each."""
    review = _open(folder, source, sign_key)
    target_id = _target_id(review.plan, target)
    for words in review.warnings(target_id):
        warn(f"warning: {words}")
    review.approve(target_id, who, role, side, _overrides(override), reason)
    _done(review, target_id)


def reject(folder: Folder, target: TargetName, who: Who,
           reason: Annotated[str, typer.Option("--reason", help="Why; required.")], role: Role = "",
           source: Source = None, sign_key: SignKey = None, debug: Debug = False) -> None:
    """Reject a target with a reason."""
    review = _open(folder, source, sign_key)
    target_id = _target_id(review.plan, target)
    review.reject(target_id, who, reason, role)
    _done(review, target_id)


def reopen(folder: Folder, target: TargetName, who: Who, role: Role = "", reason: Reason = "", source: Source = None,
           sign_key: SignKey = None, debug: Debug = False) -> None:
    """Take back the decision on a target."""
    review = _open(folder, source, sign_key)
    target_id = _target_id(review.plan, target)
    review.reopen(target_id, who, role, reason)
    _done(review, target_id)


def choose(folder: Folder, target: TargetName,
           rank: Annotated[int, typer.Option("--rank", min=1, help="Rank of the placement, see the report.")],
           who: Who, role: Role = "", reason: Reason = "", source: Source = None, sign_key: SignKey = None,
           debug: Debug = False) -> None:
    """Choose one of the placements that are offered for a target."""
    review = _open(folder, source, sign_key)
    target_id = _target_id(review.plan, target)
    review.choose(target_id, rank, who, role, reason)
    _done(review, target_id)


def report(folder: Folder, source: Source = None, debug: Debug = False) -> None:
    """Draw report.html again from the plan as it stands."""
    review = _open(folder, source, None)
    review.draw_report()
    say(f"open {folder / 'report.html'} in a browser")


def history(folder: Folder, table_format: Format = TableFormat.TABLE, as_json: Json = False,
            debug: Debug = False) -> None:
    """Who did what and when in a plan folder."""
    from dataclasses import asdict

    from planner.folder import read_folder
    from planner.history import history_of
    from planner.signoff import NOT_AN_IDENTITY, person_words

    lines = history_of(read_folder(folder).journal)
    if as_json or table_format is TableFormat.JSON:
        print_json([{**asdict(line), "kind": line.kind.value} for line in lines])
        return
    print_table("", ("entry", "when", "who", "what", "target", "reason", "signed"),
                [(str(line.number), line.when, person_words(line.who, line.role), line.words, line.target_id,
                  line.reason, line.signed_by[:16]) for line in lines])
    say(NOT_AN_IDENTITY)


def verify(folder: Folder,
           public_key: Annotated[Path | None, typer.Option("--public-key", metavar="FILE", help="Ed25519 public key, "
                                                           "PEM: people's entries must be covered by its "
                                                           "signatures.")] = None,
           head: Annotated[str | None, typer.Option("--head", metavar="HASH", help="A head that was written down "
                                                    "before.")] = None,
           as_json: Json = False, debug: Debug = False) -> None:
    """Find whatever was changed, removed or reordered in a plan folder after it was recorded."""
    from planner.signing import read_public_key
    from planner.verifying import verify_folder

    found = verify_folder(folder, None if public_key is None else read_public_key(public_key), head)
    if as_json:
        print_json(found.document())
    else:
        for problem in found.problems:
            say(f"ALTERED: {problem.sentence}")
        if not found.altered:
            say(f"unaltered: {found.entries} entries and every recorded file are as they were written")
        for note in found.notes:
            say(f"note: {note}")
        if found.head:
            say(f"head {found.head}")
    raise typer.Exit(int(ExitCode.ALTERED if found.altered else ExitCode.OK))


def add_review_commands(app: typer.Typer) -> None:
    """Add the commands to an app."""
    commands: tuple[Callable[..., None], ...] = (approve, reject, reopen, choose, report, history, verify)
    for command in commands:
        app.command()(command)
