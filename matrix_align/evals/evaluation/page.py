"""Writes the report as Markdown and as one HTML page that asks nobody for anything.

Questions, answers and reasons are data: HTML is escaped throughout, and Markdown shows them in fences that none of
their own signs can close. Jinja fills the templates. Knows only the report.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...types import counted
from .report import FILE, Report
from .sections import sections

MARKDOWN, HTML = "report.md", "report.html"
PLOTS = "plots"


def write_report(report: Report, folder: Path) -> None:
    """Writes evaluation.json, the plots, report.md and report.html. Each file is complete, or as it was before."""
    from .plots import drawn

    _write(folder / FILE, report.model_dump_json(indent=1) + "\n")
    plots = drawn(report, folder / PLOTS)
    _write(folder / MARKDOWN, markdown(report, plots))
    _write(folder / HTML, page(report, plots))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f".{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def markdown(report: Report, plots: Mapping[str, str]) -> str:
    return _filled("report.md.j2", report, plots, escape=False)


def page(report: Report, plots: Mapping[str, str]) -> str:
    """The HTML page. `plots` are SVG elements of our own, by name."""
    return _filled("report.html.j2", report, plots, escape=True)


def _filled(template: str, report: Report, plots: Mapping[str, str], escape: bool) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(__package__, "templates"),
        autoescape=escape,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"plain": plain, "fenced": fenced}
    title = f"{counted(len(report.standings), 'method')}, {counted(len(report.asked), 'benchmark')}"
    given: dict[str, Any] = {"report": report, "title": title, "sections": sections(report), "plots": plots}
    return environment.get_template(template).render(given, folder=PLOTS).rstrip() + "\n"


def plain(text: str) -> str:
    """`text` on one line of Markdown, or in a cell of a table, where none of its signs means anything."""
    line = html.escape(" ".join(text.split()), quote=False)
    return re.sub(r"([\\`*_{}\[\]#|~!])", r"\\\1", line)


def fenced(text: str) -> str:
    """`text` as a block of code whose fence is longer than any row of its own."""
    longest = max((len(found) for found in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{text}\n{fence}"
