"""The documents are true: generated parts, links, file names, commands, and Python that runs.

`python -m tests.test_docs` renews the generated parts: the commands' help, the import floors and the list of modules.
"""

from __future__ import annotations

import ast
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from matrix_align import Sampling, Settings
from matrix_align.cli import app
from matrix_align.llm.builtin import BUILTIN, OTHER, Suited

from .fake import FakeServer
from .test_layout import FLOORS

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "matrix_align"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
GENERATED = {
    "help": ROOT / "docs/cli.md",
    "floors": ROOT / "docs/architecture.md",
    "tree": ROOT / "docs/architecture.md",
}
OF_NOW = [page for page in PAGES if page.name != "CHANGELOG.md"]  # that one tells of the past too
FOLDERS = ("matrix_align", "tests", "docs", "runs", "benchmarks")
README_LIMIT = 200  # lines

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
each_page_of_now = pytest.mark.parametrize("page", OF_NOW, ids=lambda page: str(page.relative_to(ROOT)))


# --- generated parts


def commands() -> dict[str, set[str]]:
    """Every command, in the order of the help, with the options it takes."""

    def walk(command: object, name: str) -> Iterator[tuple[str, set[str]]]:
        options = {word for parameter in command.params for word in parameter.opts}  # type: ignore[attr-defined]
        yield name, options | {"--help"}
        for part, inner in getattr(command, "commands", {}).items():
            yield from walk(inner, f"{name} {part}".strip())

    return dict(walk(get_command(app), ""))


def help_of_all() -> str:
    """The help of each command on a terminal of 80 columns, with two columns left free."""
    runner, sections = CliRunner(), []
    for command in filter(None, commands()):
        shown = runner.invoke(app, [*command.split(), "--help"], prog_name="matrix-align", terminal_width=78)
        assert shown.exit_code == 0, shown.output
        sections.append(f"## {command}\n\n```\n{shown.output.strip()}\n```")
    return "\n\n".join(sections)


def floors() -> str:
    """The import floors, the highest first."""
    return "\n".join(f"{len(FLOORS) - number}. {names}" for number, names in enumerate(reversed(FLOORS)))


def tree() -> str:
    """Every module with the first sentence of its docstring."""
    lines: list[str] = []
    folder = Path()
    for path in sorted(PACKAGE.rglob("*.py"), key=lambda path: (path.parent, path.name)):
        if folder != path.parent:
            folder = path.parent
            lines.append(f"{folder.relative_to(ROOT)}/")
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        sentence = re.split(r"(?<! al)[.](?=\s|$)", " ".join(docstring.split("\n\n")[0].split()))[0]
        if sentence:
            lines.append(f"  {path.name:<15} {sentence}")
    return "\n".join(lines)


def renewed(page: Path, text: str) -> str:
    """`text` of `page` with its generated parts up to date."""
    contents: dict[str, Callable[[], str]] = {
        "help": help_of_all,
        "floors": lambda: f"```\n{floors()}\n```",
        "tree": lambda: f"```\n{tree()}\n```",
    }
    for name in (name for name, where in GENERATED.items() if where == page):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n{contents[name]()}\n{end}{after}"
    return text


@pytest.mark.parametrize("page", sorted(set(GENERATED.values())), ids=lambda page: page.name)
def test_generated_parts_are_up_to_date(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    assert renewed(page, text) == text, "run: python -m tests.test_docs"


# --- what a page refers to


def blocks(page: Path, kind: str) -> list[str]:
    """The code blocks of a page that have the mark `kind`."""
    return re.findall(rf"^```{kind}\n(.*?)^```$", page.read_text(encoding="utf-8"), re.M | re.S)


def prose(page: Path) -> str:
    """A page without its code blocks."""
    return re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub turns them into anchors."""
    headings = re.findall(r"^#+ +(.+)$", prose(page), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@each_page
def test_relative_links_lead_somewhere(page: Path) -> None:
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose(page)) if not re.match(r"[a-z]+:", link)]
    for link in links:
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{link}: there is no {target}"
        assert not anchor or anchor in anchors(target), f"{link}: {target.name} has no such heading"


@each_page_of_now
def test_files_that_are_named_are_there(page: Path) -> None:
    """Checks code, and files in our folders. A file may be named without its first folders."""
    ours = [*ROOT.glob("*"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    known = [f"/{path.relative_to(ROOT).as_posix()}" for path in ours]
    names = [name.rstrip("/") for name in re.findall(r"`([\w.-]+(?:/[\w.-]+)*/?)`", prose(page)) if is_ours(name)]
    assert [name for name in names if not any(path.endswith(f"/{name}") for path in known)] == []


def is_ours(name: str) -> bool:
    return name.endswith((".py", ".sh")) or name.split("/")[0] in FOLDERS


@pytest.mark.parametrize("page", [ROOT / "docs/method.md", ROOT / "docs/architecture.md"], ids=lambda page: page.name)
def test_names_in_the_code_are_in_the_code(page: Path) -> None:
    """Functions, classes and fields that these pages name as code exist somewhere in the package."""
    words = set(re.findall(r"\w+", "\n".join(path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py"))))
    names = re.findall(r"`([A-Za-z_]\w*(?:\.\w+)*)(?:\([^`]*\))?`", prose(page))
    named = [name for name in names if not name.endswith((".py", ".sh", ".md"))]
    assert [name for name in named if not set(name.split(".")) <= words] == []


@each_page_of_now
def test_commands_that_are_shown_can_be_given(page: Path) -> None:
    known = commands()
    lines = "\n".join(blocks(page, "")).replace("\\\n", " ").splitlines()
    for line in (line for line in lines if re.match(r"\s*matrix-align [a-z]", line)):
        words = shlex.split(line, comments=True)[1:]
        given = max((name for name in known if words[: len(name.split())] == name.split()), key=len)
        assert given, f"no such command: {line}"
        options = {word.split("=")[0] for word in words if re.match(r"--[a-z]", word)}
        assert options <= known[given], f"no such option: {line}"


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_python_that_is_shown_runs(
    page: Path, server: FakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks(page, "python"):
        exec(compile(block.replace("http://localhost:8000/v1", server.url), str(page), "exec"), {})
        assert capsys.readouterr().out.endswith("It depends. Ask first.\n")


def test_settings_that_suit_a_model_are_those_of_the_code() -> None:
    """The table in docs/models.md, and the limits of memory that docs/method.md names."""
    text = (ROOT / "docs/models.md").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and line.endswith(("| brief |", "| full |"))]
    sampling, settings = Sampling(), Settings()
    at_endpoint = Suited(sampling.max_tokens, sampling.temperature, settings.memory, settings.detail)
    suited = {f"`{name}`": model.suited for name, model in BUILTIN.items()}
    for name, wanted in {**suited, "a file": OTHER, "`--endpoint`": at_endpoint}.items():
        (line,) = (line for line in lines if name in line)
        assert line.endswith("| " + " | ".join(map(str, asdict(wanted).values())) + " |")
    method = " ".join((ROOT / "docs/method.md").read_text(encoding="utf-8").split())
    assert f"{settings.memory:,} characters at an endpoint, {OTHER.memory:,} on a model that is served here" in method


def test_the_readme_is_short() -> None:
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= README_LIMIT


if __name__ == "__main__":
    for changed in sorted(set(GENERATED.values())):
        changed.write_text(renewed(changed, changed.read_text(encoding="utf-8")), encoding="utf-8")
