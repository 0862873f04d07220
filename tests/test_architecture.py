"""The import arrows of docs/design.md: who may know whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("core", "policies", "critics", "trainers", "tasks", "ablations")
#: package -> what it may import, a package or one of its modules
ARROWS = {
    "core": {"core"},
    "policies": {"core", "policies"},
    "critics": {"core", "policies.base", "critics"},
    "trainers": {"core", "policies.base", "critics", "trainers"},
    "tasks": {"core", "tasks"},
    "ablations": set(PACKAGES),
    "run_ablation.py": {"core", "ablations"},
}
FILES = [ROOT / "run_ablation.py", *(file for package in PACKAGES for file in sorted((ROOT / package).rglob("*.py")))]


def imports(file: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_there_is_something_to_check():
    assert len(FILES) > 25


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_follow_the_arrows(file):
    allowed = ARROWS[file.relative_to(ROOT).parts[0]]
    ours = {name for name in imports(file) if name.split(".")[0] in PACKAGES}
    strays = {name for name in ours if not any(name == a or name.startswith(f"{a}.") for a in allowed)}
    assert not strays


@pytest.mark.parametrize("library", ["seaborn", "matplotlib"])
def test_one_place_draws(library):
    drawing = [file for file in FILES if any(name.split(".")[0] == library for name in imports(file))]
    assert {file.parent for file in drawing} == {ROOT / "ablations" / "figures"}


def test_statistics_know_nothing_of_drawing_or_torch():
    assert imports(ROOT / "ablations" / "statistics.py").isdisjoint({"torch", "seaborn", "ablations.figures"})


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_stay_small(file):
    text = file.read_text()
    assert len(text.splitlines()) <= 260
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 45, f"{node.name} is longer than a screen"
