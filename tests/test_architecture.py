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
    "run_ablation.py": {"ablations.command"},
    "policy_ablation": {"core", "policies.base", "ablations", "policy_ablation"},
}
#: room of `ablations` -> the other rooms that it may know
ROOMS = {
    "plan": set(),
    "record": {"plan"},
    "analysis": {"record"},
    "figures": {"analysis", "record"},
    "run": {"plan", "record"},
    "report": {"plan", "record", "analysis", "figures"},
    "experiment": {"plan", "record", "analysis", "figures", "run", "report"},
    "command": {"plan", "record", "analysis", "figures", "run", "report", "experiment"},
}
FILES = [
    ROOT / "run_ablation.py",
    *(file for package in (*PACKAGES, "policy_ablation") for file in sorted((ROOT / package).rglob("*.py"))),
]
OF_ROOMS = sorted((ROOT / "ablations").rglob("*/*.py"))


def imports(text: str) -> set[str]:
    """The modules that a file imports; of `from a import b` both `a` and `a.b`, as `b` may be a module."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


def strays(text: str, room: str) -> set[str]:
    """What a file of a room imports from rooms that it may not know."""
    allowed = {room, *ROOMS[room]}
    ours = {name for name in imports(text) if name.startswith("ablations.")}
    return {name for name in ours if name.split(".")[1] not in allowed}


def test_there_is_something_to_check():
    assert len(FILES) > 25


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_imports_follow_the_arrows(file):
    allowed = ARROWS[file.relative_to(ROOT).parts[0]]
    ours = {name for name in imports(file.read_text()) if name.split(".")[0] in PACKAGES}
    strays = {name for name in ours if not any(name == a or name.startswith(f"{a}.") for a in allowed)}
    assert not strays


@pytest.mark.parametrize("library", ["seaborn", "matplotlib"])
def test_one_place_draws(library):
    drawing = [file for file in FILES if any(name.split(".")[0] == library for name in imports(file.read_text()))]
    assert {file.parent for file in drawing} == {ROOT / "ablations" / "figures"}


@pytest.mark.parametrize("file", OF_ROOMS, ids=lambda file: str(file.relative_to(ROOT)))
def test_rooms_follow_their_arrows(file):
    assert not strays(file.read_text(), file.relative_to(ROOT).parts[1])


def test_the_rooms_are_all_there_is():
    assert {file.relative_to(ROOT).parts[1] for file in OF_ROOMS} == set(ROOMS)
    assert [file.name for file in (ROOT / "ablations").glob("*.py")] == ["__init__.py"]


@pytest.mark.parametrize("room", ROOMS)
@pytest.mark.parametrize("other", ROOMS)
def test_an_arrow_that_is_planted_is_found(room, other):
    forms = (f"import ablations.{other}.x", f"from ablations.{other} import x", f"from ablations import {other}")
    for planted in forms:
        assert bool(strays(planted, room)) == (other != room and other not in ROOMS[room])


def test_no_room_knows_itself_through_another():
    order = list(ROOMS)
    assert all(order.index(other) < order.index(room) for room, others in ROOMS.items() for other in others)


@pytest.mark.parametrize("name", ["torch", "seaborn", "matplotlib"])
def test_statistics_know_nothing_of_drawing_or_torch(name):
    for file in (ROOT / "ablations" / "analysis").glob("*.py"):
        assert name not in imports(file.read_text())


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_files_and_functions_stay_small(file):
    text = file.read_text()
    assert len(text.splitlines()) <= (250 if "ablations" in file.parts else 260)
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            assert node.end_lineno - node.lineno < 45, f"{node.name} is longer than a screen"
