"""The house's own rules: floors, import weight, wording, packaging."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLOORS = {
    "imaging": set(),
    "segmentation": {"imaging"},
    "targeting": {"imaging", "segmentation"},
    "sample_data": {"imaging"},
    "planner": {"imaging", "segmentation", "targeting", "sample_data"},
    "viewer": {"imaging", "segmentation", "targeting", "planner", "sample_data"},
}
HEAVY = ("napari", "PySide6", "PyQt6", "qtpy", "torch", "vtkmodules.vtkRenderingCore", "vtkmodules.vtkRenderingOpenGL2",
         "vtk", "matplotlib.pyplot", "onnxruntime", "distributed", "numba")


def modules(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Top-level names a file imports anywhere, inside functions too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", FLOORS)
def test_a_floor_imports_only_the_floors_below(package: str) -> None:
    above = set(FLOORS) - FLOORS[package] - {package}
    for path in modules(package):
        climbs = imported(path) & above
        assert not climbs, f"{path.relative_to(ROOT)} imports {sorted(climbs)} from above"


def test_torch_is_used_in_training_only() -> None:
    for package in FLOORS:
        for path in modules(package):
            if "training" not in path.parts:
                assert "torch" not in imported(path), path


@pytest.mark.parametrize("package", [*FLOORS, "planner.cli"])
def test_importing_a_package_is_light(package: str) -> None:
    code = f"import json, sys; import {package}; print(json.dumps([m for m in {HEAVY!r} if m in sys.modules]))"
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert json.loads(out.stdout) == []


def test_every_package_is_listed_and_says_what_it_is_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]) == set(FLOORS)
    for package in FLOORS:
        assert ast.get_docstring(ast.parse((ROOT / package / "__init__.py").read_text(encoding="utf-8"))), package


def test_run_time_dependencies_are_floors_and_no_qt_binding_is_forced() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert all(">=" in spec and "==" not in spec for spec in project["dependencies"])
    extras = project["optional-dependencies"]
    assert set(extras) == {"viewer", "batch", "pacs", "sign", "train", "dev", "all"}
    for name in ("viewer", "batch", "pacs"):
        assert not any("pyside" in spec.lower() or "pyqt" in spec.lower() for spec in extras[name])
    assert not any("torch" in spec for name in ("dev", "all") for spec in extras[name])


def test_readme_commands_are_what_make_and_ci_run() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert "make demo" in readme
    assert "make test" in readme
    assert "make test" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")


@pytest.mark.parametrize("page", ["rules", "hazards"])
def test_every_test_that_a_page_names_exists(page: str) -> None:
    named = re.findall(r"`(tests/[\w/]+\.py)::(test_\w+)`", (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    for file, name in named:
        assert f"def {name}(" in (ROOT / file).read_text(encoding="utf-8"), f"{file} has no {name}"


def test_public_names_are_declared() -> None:
    for package in FLOORS:
        for path in modules(package):
            tree = ast.parse(path.read_text(encoding="utf-8"))
            public = [n for n in tree.body if isinstance(n, ast.FunctionDef | ast.ClassDef) and n.name[0] != "_"]
            if public and path.name not in ("__init__.py", "__main__.py"):
                names = {t.id for n in tree.body if isinstance(n, ast.Assign) for t in n.targets
                         if isinstance(t, ast.Name)}
                assert "__all__" in names, f"{path.relative_to(ROOT)} has public names and no __all__"
