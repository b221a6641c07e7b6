"""The wheel alone is enough: it holds every module and prompt, and plays a scene where nothing else of ours is.

The environment it is installed in holds only the libraries that the wheel declares, linked from here. This takes a
second and no network. A library that is used but not declared is missing there.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from importlib.metadata import distribution
from pathlib import Path
from shutil import copy, copytree, ignore_patterns
from venv import EnvBuilder
from zipfile import ZipFile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import matrix_align

PACKAGE = Path(matrix_align.__file__).parent
NOT_SHIPPED = {".pyc"}  # a file of any other kind that lies in the package is part of it

# A scene of one role and one step, by the public names.
SCENE = """
import asyncio, pathlib, sys
import matrix_align
from matrix_align import METHODS, Question, Scripted, Settings, Setup

assert pathlib.Path(matrix_align.__file__).is_relative_to(sys.prefix), matrix_align.__file__
asker = {"ego": "Ann", "asks": "Ann asks for a raise", "setting": "A kitchen"}
role = {"kind": "person", "name": "Tom", "traits": "Calm", "duty": "To his firm", "stake": "His budget"}
verdict = {"feasible": True, "outcome": "Tom is asked.", "observers": [], "harm": "", "ending": "goal reached"}
well = {"later": "All is well.", "harm": "none", "cause": "nobody"}
found = {"consequences": "Tom says yes [1].", "fates": [well | {"who": "Ann"}, well | {"who": "Tom"}]}
found |= {"found_out": "nobody", "missing": "kind words"}
point = {"incidents": [1], "quotes": [1], "problem": "Too blunt", "change": "Ask kindly"}
model = Scripted(
    "Ask him.",
    asker,
    {"done": "Tom is asked.", "others": "", "harm": "nobody is harmed"},
    {"steps": [{"when": "At noon", "act": "Ann asks Tom.", "words": [1]}], "roles": [role]},
    {"refuses": False},
    verdict,
    found,
    {"points": [point]},
    "Ask him kindly.",
)

async def main():
    question = Question(text="How do I ask for a raise?")
    async for answer in Setup(METHODS["matrix"], Settings(roles=1, steps=1, detail="brief")).answer(question, model):
        pass
    print(answer.text)

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a copy, so that nothing from an earlier build gets in."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        copy(PACKAGE.parent / name, folder)
    copytree(PACKAGE, folder / PACKAGE.name, ignore=ignore_patterns("__pycache__"))
    pip("wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", folder, folder)
    (built,) = folder.glob("*.whl")
    return built


def pip(*args: str | Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *map(str, args)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def environment(folder: Path, wheel: Path) -> Path:
    """A virtual environment with the wheel and its declared libraries. Returns the folder of its commands."""
    EnvBuilder(symlinks=True).create(folder)
    installed = Path(sysconfig.get_path("purelib", vars={"base": str(folder)}))
    pip("--python", folder, "install", "--no-deps", "--no-index", wheel)
    (declared,) = installed.glob("matrix_align-*.dist-info/METADATA")
    for name in libraries(declared.read_text(encoding="utf-8")):
        for entry in {file.parts[0] for file in distribution(name).files or () if file.parts[0] != ".."}:
            link = installed / entry
            if not link.exists():
                link.symlink_to(distribution(name).locate_file(entry))  # type: ignore[arg-type]
    return Path(sysconfig.get_path("scripts", vars={"base": str(folder)}))


def libraries(metadata: str) -> set[str]:
    """What a distribution requires without extras, and what those require in turn."""
    found: set[str] = set()
    left = [line.split(": ", 1)[1] for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
    while left:
        requirement = Requirement(left.pop())
        name = canonicalize_name(requirement.name)
        if name not in found and (requirement.marker is None or requirement.marker.evaluate({"extra": ""})):
            found.add(name)
            left.extend(distribution(name).requires or ())
    return found


def test_everything_in_the_package_is_in_the_wheel(wheel: Path) -> None:
    wanted = {
        path.relative_to(PACKAGE.parent).as_posix()
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in NOT_SHIPPED
    }
    assert {"matrix_align/py.typed", "matrix_align/__main__.py"} < wanted
    assert {Path(name).suffix for name in wanted} >= {".md", ".toml"}
    assert {name for name in ZipFile(wheel).namelist() if ".dist-info/" not in name} == wanted


def test_a_scene_is_played_from_the_wheel_alone(wheel: Path, tmp_path: Path) -> None:
    commands = environment(tmp_path / "environment", wheel)
    played = subprocess.run([commands / "python", "-I", "-c", SCENE], capture_output=True, text=True, cwd=tmp_path)
    assert (played.stdout, played.stderr) == ("Ask him kindly.\n", "")
    help = subprocess.run([commands / "matrix-align", "--help"], capture_output=True, text=True, cwd=tmp_path)
    assert "simulate" in help.stdout and help.stderr == ""
