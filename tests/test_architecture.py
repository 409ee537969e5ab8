"""The shape of the repository, enforced: who may import whom, and how long a file may grow."""

import ast
import graphlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ALLOWED = {  # package: packages of ours that it may import
    "embodied": {"embodied"},
    "policies": {"policies", "embodied"},
    "simulators": {"simulators", "embodied"},
    "hardware": {"hardware", "embodied"},
}
SIMULATORS = {"mani_skill", "sapien", "mujoco", "gymnasium", "robosuite", "libero", "ray"}
OURS = [path for package in ALLOWED for path in sorted((ROOT / package).rglob("*.py"))]
ALL = OURS + [path for folder in ("tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]


def name(path):
    return str(path.relative_to(ROOT))


def module(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(nodes):
    """Modules that import statements name; `from a import b` names both a and a.b."""
    for node in nodes:
        assert not (isinstance(node, ast.ImportFrom) and node.level), "imports are absolute"
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)


def at_module_level(tree):
    """Statements that run on import: not those inside functions."""
    waiting = list(tree.body)
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [child for child in ast.iter_child_nodes(node) if isinstance(child, ast.stmt)]


@pytest.mark.parametrize("path", OURS, ids=name)
def test_imports_point_inwards(path):
    package = path.relative_to(ROOT).parts[0]
    packages = {found.split(".")[0] for found in imported(ast.walk(ast.parse(path.read_text())))}
    outside = packages & {*ALLOWED, "tests", "benchmarks", "configs"} - ALLOWED[package]
    assert not outside, f"{name(path)} may not import {sorted(outside)}: inject it through a recipe"


@pytest.mark.parametrize("path", OURS, ids=name)
def test_a_recipe_imports_without_its_simulator(path):
    top = {found.split(".")[0] for found in imported(at_module_level(ast.parse(path.read_text())))}
    assert not top & SIMULATORS, f"{name(path)} imports {sorted(top & SIMULATORS)} before anything is built"


@pytest.mark.parametrize("path", ALL, ids=name)
def test_a_file_is_read_in_one_sitting(path):
    lines = len(path.read_text().splitlines())
    assert lines <= 400, f"{name(path)} has {lines} lines; split it by responsibility"


def test_no_module_imports_itself_around_a_corner():
    known = {module(path) for path in OURS}
    needs = {
        module(path): known & set(imported(at_module_level(ast.parse(path.read_text())))) - {module(path)}
        for path in OURS
    }
    graphlib.TopologicalSorter(needs).prepare()  # raises CycleError and names the cycle


def test_every_package_says_that_it_is_ours():
    for package in ALLOWED:
        assert '__project__ = "embodied-rl"' in (ROOT / package / "__init__.py").read_text()
