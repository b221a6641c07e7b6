"""The shape of the code: imports go one way, files stay short, the public names are these, every prompt is in use."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path
from string import Template

import pytest

import matrix_align
from matrix_align import Endpoint
from matrix_align.llm.prompts import Filled, Prompts
from matrix_align.simulation.prompts import PROMPTS

from .conftest import played
from .fake import FakeServer, fill

ROOT = Path(matrix_align.__file__).parent
FILES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if path != ROOT / "__init__.py"
}

# From the bottom up: nothing imports from a floor above its own. A folder's name stands for its modules.
FLOORS = (
    "types errors provenance",
    "database",
    "llm store",
    "simulation",
    "methods",
    "data generate",
    "tuning",
    "evals",
    "iterate web",
    "cli",
    "__main__",
)

PUBLIC = {
    "errors": "MatrixAlignError InputError ModelError Unreachable Refused ContextOverflow QuotaExceeded Overloaded "
    "BadReply ClusterError EmbeddedError StoreError",
    "types": "Answer Message Question Sampling Usage",
    "simulation.types": "Scene Settings",
    "llm.caller": "Caller",
    "llm.model": "Model Reply Scripted",
    "llm.endpoint": "Endpoint",
    "llm.recorded": "Recorded",
    "store": "Store",
    "simulation.scene": "play",
}


def imports(module: str) -> Iterator[str]:
    """What a module of the package imports, wherever in the file: our modules as `.name`, others by their full name."""
    path = FILES[module]
    inside = path.parent.relative_to(ROOT).parts  # the package it is in
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name.replace("matrix_align", "", 1) or "." for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                base = ".".join([*inside[: len(inside) - node.level + 1], *filter(None, [node.module])])
            elif (node.module or "").split(".")[0] == "matrix_align":
                base = (node.module or "").removeprefix("matrix_align").removeprefix(".")
            else:
                yield node.module or ""
                continue
            for alias in node.names:
                name = f"{base}.{alias.name}".removeprefix(".")
                yield f".{name}" if name in FILES else f".{base}"


def ours(module: str) -> set[str]:
    return {name[1:] for name in imports(module) if name.startswith(".")}


def floor(module: str) -> int:
    return next(number for number, names in enumerate(FLOORS) if module.split(".")[0] in names.split())


@pytest.mark.parametrize("module", FILES)
def test_imports_go_one_way(module: str) -> None:
    """No module imports from a floor above its own, and none the public names."""
    assert "" not in ours(module), "inside the package nothing imports the package's public names"
    assert {name for name in ours(module) if floor(name) > floor(module)} == set()


def test_imports_make_no_cycle() -> None:
    order = list(TopologicalSorter({module: ours(module) for module in FILES}).static_order())
    assert order.index("types") < order.index("simulation.scene") < order.index("cli")


@pytest.mark.parametrize("module", [name for name in FILES if name.startswith("simulation")])
def test_simulation_sees_no_network_and_no_store(module: str) -> None:
    roots = {name.lstrip(".").split(".")[0] for name in imports(module)}
    assert roots & {"aiohttp", "sqlite3", "store", "cli"} == set()


def test_public_names() -> None:
    """They are these, each can be had from where it lives, and importing the package alone loads none of them."""
    homes = {name: f"matrix_align.{home}" for home, names in PUBLIC.items() for name in names.split()}
    assert sorted(matrix_align.__all__) == sorted([*homes, "METHODS"])
    assert {name: getattr(matrix_align, name).__module__ for name in homes} == homes
    with pytest.raises(AttributeError, match="nonsense"):
        _ = matrix_align.nonsense
    code = "import sys, matrix_align; print([name for name in sys.modules if name.startswith('matrix_align.')])"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "[]"


@pytest.mark.parametrize("path", [*sorted(ROOT.rglob("*.py")), *sorted(Path(__file__).parent.glob("*.py"))], ids=str)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 510


@pytest.mark.parametrize("kind", PROMPTS.templates)
def test_prompt_is_a_template(kind: str) -> None:
    """Its placeholders are well formed, and filling them in leaves none."""
    template = PROMPTS.templates[kind]
    assert template.is_valid()
    filled = PROMPTS.render(kind, **dict.fromkeys(template.get_identifiers(), "a cup of tea"))
    assert Template(filled).get_identifiers() == []


async def test_every_prompt_is_rendered_by_a_scene(
    server: FakeServer, model: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scene that takes every turn fills in every prompt, and leaves no placeholder in what is asked."""
    used = set()
    render = Prompts.render

    def rendering(prompts: Prompts, kind: str, /, **data: object) -> Filled:
        used.add(kind)
        return render(prompts, kind, **data)

    def first_refused(body: dict[str, object]) -> object:
        schema = body["response_format"]["json_schema"]["schema"]  # type: ignore[index]
        return fill(schema, schema, "thing") | {"feasible": server.kinds().count("Verdict") > 1}

    monkeypatch.setattr(Prompts, "render", rendering)
    server.on["Verdict"] = first_refused
    await played(model)
    assert PROMPTS.templates.keys() - used == {"rules"}, "which the others quote"
    asked = [message["content"] for body in server.requests for message in body["messages"]]
    assert {name for text in asked for name in Template(text).get_identifiers()} == set()
