"""The command line ``nerveplan``. Whatever is heavy is imported inside the command that needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from imaging.errors import UsageError
from planner.console import print_json, print_table, progress_bar, say
from planner.defaults import DEFAULT_ENGINE, DEFAULT_PROCEDURE
from planner.exit_codes import ExitCode
from planner.export_commands import add_export_command
from planner.options import Debug, Format, Json, TableFormat
from planner.plugins import NerveplanGroup
from planner.review_commands import add_review_commands

__all__ = ["app", "main"]

app = typer.Typer(
    name="nerveplan", cls=NerveplanGroup, no_args_is_help=True, add_completion=False,
    pretty_exceptions_enable=False, rich_markup_mode=None,
    help="Plans needle paths to the nerves of the spine's facet joints. RESEARCH USE ONLY: every output is a proposal "
         "that a clinician reviews.")

Input = Annotated[Path | None, typer.Argument(metavar="INPUT", help="DICOM folder or file, NIfTI, NRRD or MHA; may be "
                                                                   "left out with --labels.")]
Out = Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write; made new, or replaced with "
                                                               "--overwrite.")]
Procedure = Annotated[str, typer.Option("--procedure", help="See 'nerveplan procedures'.")]
Joints = Annotated[list[str] | None, typer.Option("--joint", help="A facet joint, such as L4/5; repeatable.")]
Nerves = Annotated[list[str] | None, typer.Option("--nerve", help="A nerve, such as \"L4 MB\"; repeatable.")]
Sides = Annotated[list[str] | None, typer.Option("--side", help="left or right, the patient's; repeatable.")]
EngineName = Annotated[str, typer.Option("--engine", help="Which engine segments; see 'nerveplan info'.")]
Labels = Annotated[Path | None, typer.Option("--labels", help="A segmentation made elsewhere.")]
Scheme = Annotated[str | None, typer.Option("--scheme", help="Its numbering: totalsegmentator, verse, spineps, "
                                                            "tptbox or dicom-seg.")]
Names = Annotated[list[str] | None, typer.Option("--name", help="State a level, such as LLV-1=L4; repeatable.")]
Orientation = Annotated[str | None, typer.Option("--orientation", help="State the orientation of a file that does not "
                                                                      "say, such as LPS.")]
SeriesUid = Annotated[str | None, typer.Option("--series", help="Plan on this SeriesInstanceUID.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an unreviewed plan of the same study.")]


def _version(value: bool) -> None:
    if value:
        from planner.plan import package_version
        say(f"nerveplan {package_version()}")
        raise typer.Exit


Version = Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")]


@app.callback()
def root(debug: Debug = False, version: Version = False) -> None:
    """Keep the options that stand before the command."""


@app.command()
def plan(
    out: Out,
    input_path: Input = None,
    procedure: Procedure = DEFAULT_PROCEDURE,
    joint: Joints = None,
    nerve: Nerves = None,
    side: Sides = None,
    engine: EngineName = DEFAULT_ENGINE,
    labels: Labels = None,
    scheme: Scheme = None,
    name: Names = None,
    orientation: Orientation = None,
    series: SeriesUid = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plan one study and write the plan folder with its report."""
    from planner.pipeline import plan_study
    from planner.summary import plan_summary, print_plan

    with progress_bar(as_json) as progress:
        made = plan_study(
            input_path, out, procedure=procedure, joints=joint or (), nerves=nerve or (), sides=side or (),
            engine=engine, labels=labels, scheme=scheme, names=name or (), orientation=orientation, series_uid=series,
            overwrite=overwrite, progress=progress)
    if as_json:
        print_json(plan_summary(made, out))
    else:
        print_plan(made, out)
    raise typer.Exit(int(made.exit_code))


@app.command()
def demo(
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write.")] = Path("nerveplan-demo"),
    procedure: Procedure = DEFAULT_PROCEDURE,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plan the synthetic study that ships with nerveplan; no patient was involved."""
    from planner.pipeline import plan_study
    from planner.summary import plan_summary, print_plan
    from sample_data import lumbar_ct_path

    with progress_bar(as_json) as progress:
        made = plan_study(lumbar_ct_path(), out, procedure=procedure, overwrite=True, progress=progress)
    if as_json:
        print_json(plan_summary(made, out))
    else:
        print_plan(made, out)
        say(f"open {out / 'report.html'} in a browser")
    raise typer.Exit(int(made.exit_code))


@app.command()
def segment(
    out: Out,
    input_path: Input = None,
    engine: EngineName = DEFAULT_ENGINE,
    labels: Labels = None,
    scheme: Scheme = None,
    name: Names = None,
    orientation: Orientation = None,
    series: SeriesUid = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Find vertebrae, levels, landmarks, nerves and structures; propose nothing."""
    from planner.pipeline import segment_study
    from planner.summary import plan_summary, print_plan

    with progress_bar(as_json) as progress:
        made = segment_study(input_path, out, engine=engine, labels=labels, scheme=scheme, names=name or (),
                             orientation=orientation, series_uid=series, overwrite=overwrite, progress=progress)
    code = ExitCode.OK if made.spine.vertebrae else ExitCode.ABSTAINED
    if as_json:
        print_json({**plan_summary(made, out), "exit_code": int(code)})
    else:
        print_plan(made, out)
    raise typer.Exit(int(code))


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A DICOM folder or file, or an image file.")],
    table_format: Format = TableFormat.TABLE,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Say what is in a folder, which series is fit for planning, and why the others are not."""
    from planner.inspecting import inspect_path

    seen = inspect_path(path)
    if as_json or table_format is TableFormat.JSON:
        print_json(seen.document())
    else:
        print_table("", ("verdict", "what", "why not", "series UID"),
                    [(s.verdict, s.summary, s.reasons, s.uid) for s in seen.series])
        for line in seen.notes:
            say(line)
    raise typer.Exit(int(ExitCode.OK if seen.fit else ExitCode.REFUSED))


@app.command()
def procedures(table_format: Format = TableFormat.TABLE, as_json: Json = False, debug: Debug = False) -> None:
    """List the procedures that can be planned."""
    from targeting.procedures import load_procedure, procedure_names

    found = [load_procedure(name) for name in procedure_names()]
    entries: list[dict[str, Any]] = [
        {"name": p.name, "title": p.title, "kind": p.kind.value, "nerves": [n.value for n in p.nerves],
         "joints": list(p.joints), "needles": [n.name for n in p.stock]} for p in found]
    if as_json or table_format is TableFormat.JSON:
        print_json(entries)
        return
    print_table("", ("name", "what", "kind", "nerves or joints"),
                [(e["name"], e["title"], e["kind"], ", ".join(e["nerves"] or e["joints"])) for e in entries])


@app.command()
def info(table_format: Format = TableFormat.TABLE, as_json: Json = False, debug: Debug = False) -> None:
    """Versions, engines and commands that are installed here."""
    from planner.plugins import plugin_commands
    from planner.stages import library_versions
    from segmentation.engine import engine_names

    lines = {**library_versions(), "engines": ", ".join(engine_names()) or "none",
             "extra commands": ", ".join(plugin_commands()) or "none"}
    if as_json or table_format is TableFormat.JSON:
        print_json(lines)
        return
    print_table("", ("what", "here"), list(lines.items()))


@app.command()
def batch(
    root_path: Annotated[Path, typer.Argument(metavar="ROOT", help="A folder with studies below it; or the word "
                                                                   "'status', then the DIR of a batch.")],
    status_of: Annotated[Path | None, typer.Argument(metavar="[DIR]", help="After 'status': the batch to look at.",
                                                     show_default=False)] = None,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Folder for the results; rerun to go "
                                                                          "on.")] = None,
    procedure: Procedure = DEFAULT_PROCEDURE,
    joint: Joints = None,
    nerve: Nerves = None,
    side: Sides = None,
    engine: EngineName = DEFAULT_ENGINE,
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Processes; one per two cores.")] = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Plan every study below a folder; one study's failure is recorded and never stops the rest.

    'nerveplan batch status DIR' says how far a batch has come and what waits for a person.
    """
    if status_of is not None:
        if str(root_path) != "status" or out is not None:
            raise UsageError("say 'nerveplan batch ROOT --out DIR' to plan, or 'nerveplan batch status DIR' to look")
        _print_batch_status(status_of, as_json)
        return
    if out is None:
        raise UsageError("say where the results go: --out DIR")
    from planner.batch import BatchRequest, run_batch

    request = BatchRequest(procedure, tuple(joint or ()), tuple(nerve or ()), tuple(side or ()), engine)
    with progress_bar(as_json) as progress:
        done = run_batch(root_path, out, request, workers=workers, progress=progress)
    if as_json:
        print_json(done.document())
    else:
        say(done.sentence)
    raise typer.Exit(int(done.exit_code))


def _print_batch_status(folder: Path, as_json: bool) -> None:
    from planner.batch_status import batch_status

    found = batch_status(folder)
    if as_json:
        print_json(found.document())
        return
    print_table("", ("study", "state", "planned", "decided", "lowest confidence waiting", "reason"),
                [(s.study, s.state, str(s.planned), str(s.decided), s.word, s.reason) for s in found.studies])
    say(found.sentence)


add_review_commands(app)
add_export_command(app)


def main() -> None:
    """Entry point of the console script."""
    app()
