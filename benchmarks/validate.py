"""`make validate`: the long proofs on the real scans, written to docs/validation.md with commit and date.

Every line is a command a reader can run again. Bad figures come first in the page's summary.
"""

from __future__ import annotations

import argparse
import json
import math
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cases import DATA, DOCS, Run, commit, nerveplan, read_json, run_module, score, work_folder
from benchmarks.checks import Check
from planner.loading import load_plan
from planner.pipeline import replan_study

__all__ = ["main"]

LABEL_MAPS = {
    "s0004": "totalsegmentator", "s0012": "totalsegmentator", "s0327": "totalsegmentator", "s0328": "totalsegmentator",
    "verse004": "verse", "verse010": "verse", "verse014": "verse",
}
#: Procedures beside the main job's, and how many targets each has on both sides; all needles of a set count as one.
PROCEDURES = {
    "lumbar-medial-branch-rf": 12,
    "lumbar-medial-branch-rf-parasagittal": 12,
    "l5-dorsal-ramus-block": 2,
    "l5-dorsal-ramus-rf": 2,
    "lumbar-medial-branch-rf-perpendicular": 12,
    "lumbar-medial-branch-rf-cooled": 12,
    "lumbar-medial-branch-cryoneurolysis": 12,
    "lumbar-medial-branch-pns-lead": 2,
    "lumbar-facet-joint-injection": 12,
    "lumbar-transforaminal-posteroinferior": 12,
    "lumbar-transforaminal-subpedicular": 4,
    "basivertebral-nerve-ablation": 8,
    "s1-transforaminal": 2,
    "sacral-lateral-branch-palisade": 2,
    "sacral-lateral-branch-palisade-short-tip": 2,
}


def _shown(run: Run) -> str:
    return f"exit {run.code} in {run.seconds:.0f} s: {run.last_line}"


def _plan(name: str, source: Path, *options: str | Path) -> tuple[Path, Run]:
    out = work_folder() / name
    return out, nerveplan("plan", source, "--out", out, "--overwrite", *options)


def _again(scan: str, procedure: str) -> tuple[Path, str]:
    """Another procedure on the anatomy of the main job's plan, and what came of it."""
    out = work_folder() / f"{scan}_{procedure}"
    plan = replan_study(load_plan(work_folder() / scan), procedure, out, overwrite=True, report=False)
    planned = sum(bool(p.placements) for p in plan.proposals)
    return out, f"{planned} of {len(plan.proposals)} targets planned, {len(plan.missing_targets)} missing"


def _phantom_gold(folder: Path) -> Path:
    """The phantom's exact truth in the form the landmark scorer reads."""
    from sample_data import load_truth

    truth = load_truth()
    points = {row["level"]: {"body_center": row["body_center"], **truth["landmarks"].get(row["level"], {})}
              for row in truth["levels"]}
    path = folder / "phantom_gold.json"
    path.write_text(json.dumps({"points": points}), encoding="utf-8")
    return path


def _faults(name: str, run: Run) -> Check:
    return Check(f"{name}: `check_paths.py` without fault", run.code == 0, run.output)


def landmarks_and_paths() -> Iterator[Check]:
    """The main job on s0015, s0028, ts_example and the phantom, against readers and the independent path oracle."""
    from sample_data import lumbar_ct_path

    cases = {"s0015": (DATA / "ct/s0015.nii.gz", DATA / "landmarks/s0015.json", "4"),
             "s0028": (DATA / "ct/s0028.nii.gz", DATA / "landmarks/s0028.json", "4"),
             "phantom": (lumbar_ct_path(), _phantom_gold(work_folder()), "1")}
    for name, (source, gold, mean) in cases.items():
        out, run = _plan(name, source)
        yield Check(f"{name}: planned", run.code == 0, _shown(run))
        if not (out / "plan.json").exists():
            continue
        said = score("score_landmarks.py", out / "plan.json", gold, "--mean", mean)
        yield Check(f"{name}: no wrong or missing level, SAP/TP junction mean at most {mean} mm", said.code == 0,
                    "; ".join(said.output.strip().splitlines()[-2:]))
        yield _faults(name, score("check_paths.py", out, "--expect", "12", "--min-proposed", "10"))
    for name, options in (("ts_example", ()), ("ts_example_labels", (
            "--labels", DATA / "labels/ts_example_totalsegmentator.nii.gz", "--scheme", "totalsegmentator"))):
        out, run = _plan(name, DATA / "ct/ts_example.nii.gz", *options)
        yield Check(f"{name}: planned or abstained", run.code in (0, 4), _shown(run))
        if (out / "plan.json").exists():
            yield _faults(name, score("check_paths.py", out))


def procedures() -> Iterator[Check]:
    """Every procedure beside the main job, on the anatomy that the main job found (`planner.pipeline.replan_study`)."""
    for procedure, asked in PROCEDURES.items():
        for scan in ("s0015", "s0028", "phantom"):
            out, said = _again(scan, procedure)
            plan = read_json(out / "plan.json")
            listed, missing = len({(t["name"], t["side"]) for t in plan["targets"]}), plan["missing_targets"]
            yield Check(f"{scan} {procedure}: every target asked for is listed, or missing with its reason",
                        listed + len(missing) == asked and all(m["reason"] for m in missing), said)
            yield _faults(f"{scan} {procedure}", score("check_paths.py", out))
            if any("set" in t for t in plan["targets"]):
                yield _sets(f"{scan} {procedure}", plan)


def _sets(name: str, plan: Any) -> Check:
    """A set of needles is whole, with every needle placed and tips 8 to 12 mm apart, or none of it is offered."""
    good, said = True, []
    placed = {p["target_id"]: p["placements"] for p in plan["proposals"]}
    for one in plan["sets"]:
        tips = [placed[t][0]["needles"][0]["tip"] for t in one["target_ids"] if placed[t]]
        gaps = [math.dist(a, b) for a, b in pairwise(tips)]
        whole = len(tips) == len(one["target_ids"]) and all(7.99 <= g <= 12.01 for g in gaps)
        good &= one["whole"] == whole and (whole or not tips)
        said.append(f"{one['side']}: " + (f"{len(tips)} needles, tips {min(gaps):.1f} to {max(gaps):.1f} mm apart"
                                          if whole else "not offered"))
    return Check(f"{name}: a set is whole or not offered at all", good, "; ".join(said))


def engine() -> Iterator[Check]:
    """Labels and landmarks of the plans above against labels the network never saw and against the readers, pooled."""
    _plan("tptbox_l3", DATA / "ct/tptbox_l3.nii.gz")
    for name, labels, bound, options in (
            ("verse014", "verse014_verse", "0.90", ("--all", "--match", "overlap")),
            ("tptbox_l3", "tptbox_l3_vert", "0.90", ("--match", "overlap")),
            ("ts_example", "ts_example_totalsegmentator", "0.85",
             ("--ref-scheme", "totalsegmentator", "--levels", "L1", "L2", "L3", "L4", "L5"))):
        said = score("score_labels.py", work_folder() / name / "labels.nii.gz", DATA / f"labels/{labels}.nii.gz",
                     "--dice", bound, "--no-extra", *options)
        yield Check(f"{name}: mean Dice at least {bound} and no extra level", said.code == 0, said.last_line)
    errors: list[float] = []
    for name in ("s0015", "s0028"):
        gold = DATA / f"landmarks/{name}.json"
        said = score("score_landmarks.py", work_folder() / name / "plan.json", gold, "--json")
        errors += json.loads(said.last_line)["errors_mm"].values()
    mean, p95 = float(np.mean(errors)), float(np.percentile(errors, 95))
    yield Check("SAP/TP junction of s0015 and s0028 pooled: mean at most 2.0 mm, P95 at most 4.0 mm",
                mean <= 2.0 and p95 <= 4.0, f"n {len(errors)}, mean {mean:.2f}, P95 {p95:.2f} mm; readers 2.2 / 4.1")


def cropped_fields() -> Iterator[Check]:
    """Fields of view without skin, without levels, with scouts; each must say what it cannot tell."""
    out, run = _plan("verse014", DATA / "ct/verse014.nii.gz")
    plan = read_json(out / "plan.json")
    statuses = {p["status"] for p in plan["proposals"]}
    tier = plan["numbering"]["tier"]
    entries = [n["entry"] for p in plan["proposals"] for q in p["placements"] for n in q["needles"]]
    yield Check("verse014: tier B or relative, direction_only, no entry on the reconstruction's edge",
                tier in "BCD" and statuses <= {"direction_only", "none"} and not any(entries),
                f"{_shown(run)}; tier {tier}, {plan['numbering']['status']}, statuses {sorted(statuses)}")
    out, run = _plan("axial20", DATA / "dicom/lumbar_ct_axial_20slices")
    plan = read_json(out / "plan.json")
    codes = {f["code"] for f in plan["findings"]}
    yield Check("lumbar_ct_axial_20slices: relative, exit 4, empty UIDs found",
                run.code == 4 and plan["numbering"]["status"] == "relative" and "empty_uids" in codes, _shown(run))
    run = nerveplan("inspect", DATA / "dicom/lumbar_ct_mr_cc0")
    yield Check("lumbar_ct_mr_cc0: inspect names four series in two studies and the scout",
                run.code == 0 and "scout" in run.output.lower(), run.output.strip())
    out, run = _plan("cc0", DATA / "dicom/lumbar_ct_mr_cc0")
    plan = read_json(out / "plan.json")
    statuses = {p["status"] for p in plan["proposals"]}
    yield Check("lumbar_ct_mr_cc0: the sagittal CT is planned, direction_only or abstained", run.code in (0, 4),
                f"{_shown(run)}; {plan['numbering']}, statuses {sorted(statuses)}")
    if (out / "plan.json").exists():
        yield _faults("lumbar_ct_mr_cc0", score("check_paths.py", out))


def refusals() -> Iterator[Check]:
    """What is not a plannable scan ends with its code and a sentence."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty").mkdir()
        (folder / "text").mkdir()
        (folder / "text" / "notes.dcm").write_text("not an image", encoding="utf-8")
        (folder / "other").mkdir()
        (folder / "other" / "readme.txt").write_text("nothing here", encoding="utf-8")
        for label, source, codes in (
                ("T2 MR", DATA / "mr/t2_lumbar.nii.gz", (3, 4)),
                ("prone sagittal head MR", DATA / "nasty/mr-prone-HFP-sag", (3, 4)),
                ("head CT, tilted, 4 then 7 mm", DATA / "nasty/ct-ge-tilt18-nonuniform-4-7mm", (3, 4)),
                ("twelve patients in one folder", DATA / "nasty/mixed-patients", (3,)),
                ("deep nesting and a 4 GiB element", DATA / "nasty/made", (3,)),
                ("empty folder", folder / "empty", (3,)), ("text named .dcm", folder / "text", (3,)),
                ("no DICOM", folder / "other", (3,)), ("no such path", folder / "absent", (3,))):
            run = nerveplan("plan", source, "--out", folder / "out" / label.replace(" ", "_"))
            trace = "Traceback" in run.output
            wanted = " or ".join(map(str, codes))
            yield Check(f"{label}: exit {wanted} with a sentence", run.code in codes and not trace, _shown(run))


def label_maps() -> Iterator[Check]:
    """Levels, landmarks and nerves from label maps alone."""
    for name, scheme in LABEL_MAPS.items():
        path = DATA / "labels" / f"{name}_{scheme}.nii.gz"
        out = work_folder() / f"labels_{name}"
        run = nerveplan("plan", "--labels", path, "--scheme", scheme, "--out", out, "--overwrite")
        plan = read_json(out / "plan.json") if (out / "plan.json").exists() else {"landmarks": {}, "targets": []}
        junctions = sum(key.startswith("sap_tp_junction") for marks in plan["landmarks"].values() for key in marks)
        yield Check(f"{name} ({scheme}) label map alone", run.code == 4 and junctions >= 8,
                    f"{_shown(run)}; {junctions} junctions, {len(plan['targets'])} nerve targets")


def invariance() -> Iterator[Check]:
    """The four invariance tests on s0015, cropped to the lumbar spine."""
    import numpy as np

    from benchmarks.invariance import INVARIANCES, compare, crop_to_spine, plan_of
    from imaging.reading import read_input

    gold = read_json(DATA / "landmarks/s0015.json")["points"]
    points = np.array([p["body_center"] for p in gold.values()])
    volume = crop_to_spine(read_input(DATA / "ct/s0015.nii.gz"), points)
    first = plan_of(volume)
    for test in INVARIANCES:
        second_volume, move = test.make(volume)
        moved = compare(first, plan_of(second_volume), test, move)
        limit = test.limit_mm(volume)
        over = {key: round(d, 2) for key, d in moved.items() if not d <= limit}
        values = np.array(list(moved.values()))
        yield Check(f"s0015 {test.name}: every point within {limit:.2f} mm", not over,
                    f"n {len(values)}, median {np.median(values):.3f}, P95 {np.percentile(values, 95):.3f}, "
                    f"max {values.max():.3f} mm; over the limit: {over or 'none'}")


def cost() -> Iterator[Check]:
    """File to report in time and memory, from the run record of s0015."""
    run = read_json(work_folder() / "s0015" / "run.json")
    total, peak = run["seconds"], run["peak_memory_mb"]
    yield Check("s0015 from file to report under 120 s and 4 GB", total < 120 and peak < 4096,
                f"{total:.0f} s, {peak:.0f} MB; " + ", ".join(f"{s['name']} {s['seconds']} s" for s in run["stages"]))
    anatomy = sum(stage["seconds"] for stage in run["stages"] if stage["name"] in ("segmenting", "anatomy"))
    yield Check("s0015: segmentation, landmarks and structures within 30 s and 3 GB", anatomy <= 30 and peak < 3072,
                f"{anatomy:.1f} s, {peak:.0f} MB")


def session() -> Iterator[Check]:
    """One review session on s0015 by mouse and keys in a real window, in a process of its own."""
    kept = work_folder() / "session.json"
    kept.unlink(missing_ok=True)
    run = run_module("benchmarks.session", work_folder() / "s0015", "--json", kept)
    checks = [Check(**check) for check in read_json(kept)] if kept.exists() else []
    yield from checks
    yield Check("the session came to its end", run.code == int(not all(c.holds for c in checks)) and bool(checks),
                _shown(run))


SECTIONS = {section.__name__: section for section in (
    landmarks_and_paths, procedures, cropped_fields, engine, refusals, label_maps, invariance, session, cost)}


def _title(name: str) -> str:
    return (SECTIONS[name].__doc__ or "").splitlines()[0]


def _kept() -> Path:
    return work_folder() / "checks.json"


def _run_section(name: str) -> None:
    """Run one section and keep its checks, after each, with the commit they were made on."""
    held: list[Check] = []
    print(f"== {_title(name)}", flush=True)

    def keep(check: Check) -> None:
        print(f"{'ok  ' if check.holds else 'FAIL'} {check.claim}: {check.last_line}", flush=True)
        held.append(check)
        kept = read_json(_kept()) if _kept().exists() else {}
        kept[name] = {"commit": commit(), "when": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
                      "checks": [asdict(c) for c in held]}
        _kept().write_text(json.dumps(kept), encoding="utf-8")

    try:
        for check in SECTIONS[name]():
            keep(check)
    except (OSError, KeyError, ValueError) as error:
        keep(Check(f"{_title(name)} could not be finished", False, f"{type(error).__name__}: {error}"))


def _page(kept: dict[str, Any]) -> str:
    """docs/validation.md from the checks that are kept: what does not hold first."""
    checks = {name: [Check(**c) for c in kept[name]["checks"]] for name in SECTIONS if name in kept}
    failed = [c for held in checks.values() for c in held if not c.holds]
    lines = ["# Validation", "", "By `make validate`; one section alone by `python -m benchmarks.validate SECTION`.",
             "The landmarks' readers are two independent reference readers, not physicians.", "",
             f"{len(failed)} of {sum(map(len, checks.values()))} claims do not hold.", ""]
    lines += [f"- **{c.claim}**: {c.last_line}" for c in failed]
    for name, held in checks.items():
        lines += ["", f"## {_title(name)}", "", f"`{name}`, commit {kept[name]['commit']}, {kept[name]['when']}.", "",
                  "| holds | claim | said |", "|---|---|---|"]
        lines += [f"| {'yes' if c.holds else '**no**'} | {c.claim} | {c.cell} |" for c in held]
    return "\n".join(lines) + "\n"


def main() -> int:
    """Run the sections that are named, or all; write docs/validation.md; return 1 when a claim does not hold."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", metavar="SECTION", help=", ".join(SECTIONS))
    named = parser.parse_args().sections or list(SECTIONS)
    unknown = [name for name in named if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {', '.join(unknown)}; say {', '.join(SECTIONS)}")
    for name in named:
        _run_section(name)
    kept = read_json(_kept())
    DOCS.mkdir(exist_ok=True)
    (DOCS / "validation.md").write_text(_page(kept), encoding="utf-8")
    failed = sum(not c["holds"] for name in named for c in kept[name]["checks"])
    print(f"{failed} claims do not hold; docs/validation.md written")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
