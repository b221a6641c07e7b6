"""The shape of the code: imports go one way, files stay short, public names are fixed, and every prompt is used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from string import Template

import pytest

import matrix_align
from matrix_align import Endpoint
from matrix_align.llm.prompts import Filled, Prompts
from matrix_align.simulation.conversation import _head
from matrix_align.simulation.prompts import PROMPTS

from .conftest import played
from .fake import FakeServer, fill

ROOT = Path(matrix_align.__file__).parent
FILES = [
    path.relative_to(ROOT) for path in sorted(ROOT.rglob("*.py")) if path.parent != ROOT or path.stem != "__init__"
]

# From the bottom up: nothing imports from a floor above its own. A folder's name stands for its modules.
FLOORS = (
    "types errors provenance plain",
    "database",
    "llm store",
    "simulation",
    "methods",
    "data generate",
    "tuning",
    "evals",
    "iterate",
    "web",
    "cli",
    "__main__",
)

PUBLIC = {
    "errors": "MatrixAlignError InputError ModelError Unreachable Refused ContextOverflow QuotaExceeded Overloaded "
    "BadReply ClusterError EmbeddedError StoreError",
    "types": "Answer Message Question Sampling Usage",
    "simulation.types": "Scene Settings",
    "llm.caller": "Caller",
    "methods.method": "Setup",
    "llm.model": "Model Reply Scripted",
    "llm.endpoint": "Endpoint",
    "llm.recorded": "Recorded",
    "store": "Store",
    "simulation.scene": "play",
}


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_go_one_way(path: Path) -> None:
    """No module imports from a floor above its own, or from the package's public names."""
    floor = {name: number for number, names in enumerate(FLOORS) for name in names.split()}
    for node in ast.walk(ast.parse((ROOT / path).read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            above = path.parts[: len(path.parts) - node.level]  # the package that the dots name
            inside = [*above, *filter(None, (node.module or "").split("."))]
            for name in inside[:1] or [alias.name for alias in node.names]:
                assert floor[name] <= floor[path.with_suffix("").parts[0]], ast.unparse(node)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            assert "matrix_align" not in ast.unparse(node), "inside the package imports are relative"


@pytest.mark.parametrize("path", [path for path in FILES if path.parts[0] in ("simulation", "methods")], ids=str)
def test_scenes_and_methods_see_no_network_and_no_store(path: Path) -> None:
    assert not re.search(
        r"import .*\b(aiohttp|sqlite3|store|http|endpoint)\b", (ROOT / path).read_text(encoding="utf-8")
    )


def test_public_names() -> None:
    """Each can be imported from its module, and importing the package alone loads none of them."""
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
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 400


@pytest.mark.parametrize("kind", PROMPTS.templates)
def test_prompt_is_a_template(kind: str) -> None:
    """Its placeholders are well formed. Filling them in leaves none."""
    template = PROMPTS.templates[kind]
    assert template.is_valid()
    filled = PROMPTS.render(kind, **dict.fromkeys(template.get_identifiers(), "a cup of tea"))
    assert Template(filled).get_identifiers() == []


async def test_every_prompt_is_rendered_by_a_scene(
    server: FakeServer, model: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A scene that takes every turn fills in every prompt, and sends no placeholder."""
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
    _head.cache_clear()  # what other tests have rendered
    for detail in ("full", "brief"):
        await played(model, detail=detail)
    assert PROMPTS.templates.keys() == used
    asked = [message["content"] for body in server.requests for message in body["messages"]]
    assert {name for text in asked for name in Template(text).get_identifiers()} == set()
