"""Imports point one way: which part of the package can import which."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import sccr_node
from sccr_node.contract.methods import METHODS

ROOT = Path(sccr_node.__file__).parent

FLOORS = (
    {"errors"},
    {"runtime"},
    {"contract", "numerics"},
    {"storage", "methods"},
    {"data", "evaluation"},
    {"results"},
    {"reports"},
    {"pipeline"},
    {"cli", "api"},
    {"__main__", "__init__"},
)
"""From the ground up: a part imports from the floors below it only. Two parts of one floor do not know each other."""


def imported(path):
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            of_package = node.module == "sccr_node"
            names = [f"sccr_node.{alias.name}" if of_package else node.module for alias in node.names]
        for name in names:
            if name.startswith("sccr_node."):
                yield name.split(".")[1]


def parts():
    return sorted(path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists())


def test_every_part_has_a_floor():
    assert set(parts()) == set().union(*FLOORS)


@pytest.mark.parametrize("part", parts())
def test_a_part_imports_only_what_lies_below_it(part):
    floor = next(number for number, names in enumerate(FLOORS) if part in names)
    below = set().union(*FLOORS[:floor]) | {part, "__version__"}
    for path in [ROOT / f"{part}.py"] if (ROOT / f"{part}.py").exists() else (ROOT / part).rglob("*.py"):
        beyond = set(imported(path)) - below
        assert not beyond, f"{path.relative_to(ROOT)} imports {beyond}"


def test_a_file_name_stands_twice_only_for_a_command_on_another_floor():
    commands = {path.stem for path in (ROOT / "cli").glob("*.py")}
    floors = {}
    for path in ROOT.rglob("*.py"):
        floors.setdefault(path.stem, set()).add(path.parent.relative_to(ROOT).parts[:1])
    for name, folders in floors.items():
        if len(folders) > 1 and name != "__init__":
            assert name in commands, f"{name}.py is in {sorted(folders)}"
    for folder in {path.parent for path in ROOT.rglob("*.py")}:
        names = [path.stem for path in folder.rglob("*.py") if path.stem != "__init__"]
        assert len(names) == len(set(names)) or folder == ROOT, folder


def test_the_package_does_without_the_tools():
    # A checkout has both; an installed package has no tools/.
    for path in ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not any(module.split(".")[0] == "tools" for module in modules), path


def test_the_catalogue_loads_nothing_heavy():
    """Help pages, completion and schemas are made from it."""
    program = "import sys, sccr_node.contract.methods; print(*(set(sys.modules) & {'numpy', 'scipy', 'pydantic'}))"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == ""


def test_only_the_catalogue_and_its_module_know_a_method_by_name():
    """Everything else asks the catalogue: adding a method takes an entry there and a module in methods/."""
    for path in ROOT.rglob("*.py"):
        if path.parent.name == "methods" or path == ROOT / "contract" / "methods.py":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Compare):
                compared = {item.value for item in ast.walk(node) if isinstance(item, ast.Constant)}
                assert not compared & set(METHODS), f"{path.relative_to(ROOT)}:{node.lineno}"
                # The default is a method as well: a branch on it is one on its name.
                assert not any("DEFAULT_METHOD" in ast.unparse(item) for item in [node.left, *node.comparators]), path
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Constant):
                assert node.slice.value not in METHODS, f"{path.relative_to(ROOT)}:{node.lineno}"
            if isinstance(node, ast.ImportFrom):
                assert node.module not in {f"sccr_node.methods.{name}" for name in METHODS}, path


def test_every_file_says_in_its_first_line_what_it_does():
    for path in [*ROOT.rglob("*.py"), *(ROOT.parent / "tools").rglob("*.py")]:
        docstring = ast.get_docstring(ast.parse(path.read_text()))
        assert docstring, path
        assert path.read_text().startswith('"""'), path


OF_A_KIND = {
    "evaluation/analyses": {"score", "summary", "load", "ANALYSIS", "METRICS", "COLUMNS"},
    "methods": {"impute", "cost", "load"},
    "numerics/neighbors": {"search", "operations", "BYTES_PER_ROW"},
    "storage": {"FORMAT"},
}
"""What several files of a folder define: the interface of what comes in kinds, one signature with one meaning."""


def test_a_public_name_means_one_thing():
    """Whoever searches for a name, or meets it far from its import, finds one function, class or constant.

    Commands do not count: they are named as users type them, like the functions of the API.
    """
    places = {}
    for path in ROOT.rglob("*.py"):
        file = path.relative_to(ROOT)
        for name in public_names(ast.parse(path.read_text())) - OF_A_KIND.get(file.parent.as_posix(), set()):
            places.setdefault(name, []).append(file.as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def public_names(module):
    """Return the functions, classes and constants that a module defines, without commands."""
    found = set()
    for node in module.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            if not any("command" in ast.unparse(decorator) for decorator in node.decorator_list):
                found.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            found |= {item.id for target in targets for item in ast.walk(target) if isinstance(item, ast.Name)}
    return {name for name in found if not name.startswith("_")}


def test_the_map_names_every_file():
    """Except for one file per command, method or analysis, which the map says once; see docs/dev/map.md."""
    lines = (ROOT.parent / "docs" / "dev" / "map.md").read_text().splitlines()
    table = [line.split("|")[1:3] for line in lines if line.startswith("| `")]
    named = {place: says for places, says in table for place in re.findall("`(.+?)`", places)}
    commands = {path.stem for path in (ROOT / "cli").glob("*.py")} - {"app", "groups", "manner", "options"}
    for path in sorted([*ROOT.rglob("*.py"), *ROOT.rglob("*.c")]):
        file = path.relative_to(ROOT)
        of_a_kind = (
            (file.parent.as_posix() in ("cli", "contract", "pipeline") and path.stem in commands)
            or (file.parent.as_posix() == "methods" and path.stem in METHODS)
            or file.parent.as_posix() == "evaluation/analyses"
        )
        if len(file.parts) == 1:
            assert path.name in named, file
        elif path.name != "__init__.py" and not of_a_kind:
            assert f"`{path.name}`" in named[f"{file.parts[0]}/"], file
