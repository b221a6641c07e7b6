"""The report of `evaluate` as pages and plots: nothing in it is asked of anywhere, and no text of others is code."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from math import nan
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from matrix_align.evals.evaluation.page import markdown, page, write_report
from matrix_align.evals.evaluation.plots import PLOTS, drawn
from matrix_align.evals.evaluation.report import FILE, Report
from matrix_align.evals.evaluation.sections import sections

from .evaluating import NASTY, report

METHODS = ("vanilla", *(f"method_{number}" for number in range(5)))


class Elements(HTMLParser):
    """All elements of a page with their attributes, and the text of those of the class `text`."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._within = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        if dict(attrs).get("class") == "text":
            self._within = True
            self.texts.append("")

    def handle_data(self, data: str) -> None:
        if self._within:
            self.texts[-1] += data

    def handle_endtag(self, tag: str) -> None:
        self._within = False


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report on twelve methods."""
    folder = tmp_path_factory.mktemp("report")
    write_report(report(*METHODS), folder)
    return folder


def test_every_plot_is_saved_and_in_the_page(written: Path) -> None:
    for name in PLOTS:
        assert (written / f"plots/{name}.png").read_bytes().startswith(b"\x89PNG")
        svg = (written / f"plots/{name}.svg").read_text()
        assert "<svg" in svg and (name == "cost" or "method_4" in svg or "method_3" in svg)
        assert f"(plots/{name}.png)" in (written / "report.md").read_text()
    assert Report.model_validate_json((written / FILE).read_text()) == report(*METHODS)
    assert sum(tag == "svg" for tag, _ in Elements((written / "report.html").read_text()).found) == len(PLOTS)


def test_the_page_asks_nobody_for_anything(written: Path) -> None:
    """No script, no frame, no address outside the page; and a policy that would stop them."""
    html = (written / "report.html").read_text()
    elements = Elements(html).found
    assert not {tag for tag, _ in elements} & {"script", "iframe", "img", "link", "object", "embed", "form", "base"}
    for tag, attributes in elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name not in ("src", "href", "xlink:href") or str(value).startswith("#"), (tag, name, value)
    policy = next(each["content"] for tag, each in elements if each.get("http-equiv"))
    assert "default-src 'none'" in str(policy)
    style = html[html.index("<style>") : html.index("</style>")]
    assert "url(" not in style and "@import" not in style


def test_texts_are_shown_as_they_are(written: Path) -> None:
    """Questions, answers and reasons appear whole, in HTML as text and in Markdown as blocks of code."""
    samples = 2 * (len(METHODS) - 1)
    shown = Elements((written / "report.html").read_text()).texts
    assert shown == [NASTY] * 5 * samples  # system, question, two answers, a reason
    tokens = MarkdownIt("gfm-like", {"linkify": False}).parse((written / "report.md").read_text())
    assert [token.content for token in tokens if token.type == "fence"] == [f"{NASTY}\n"] * 5 * samples
    blocks = {token.content.strip() for token in tokens if token.type == "html_block"}
    assert blocks == {"<details><summary>A harmful question. A tie.</summary>", "</details>"}
    inline = [child for token in tokens for child in token.children or ()]
    assert not [child for child in inline if child.type in ("html_inline", "link_open")]


def test_harmful_pairs_are_folded(written: Path) -> None:
    html = (written / "report.html").read_text()
    for article in re.findall(r"<article>(.*?)</article>", html, re.S):
        before = article.split('<div class="text">')[0]
        assert ("A harmful question." in article) == ("<details>" in before)
    assert html.count("<details>") == len(METHODS) - 1 and "<details open" not in html


def test_the_page_can_be_used_with_a_keyboard_and_in_the_dark(written: Path) -> None:
    html = (written / "report.html").read_text()
    elements = Elements(html).found
    ids = [str(each["id"]) for _, each in elements if "id" in each]
    assert len(ids) == len(set(ids)), "two elements share an id"
    links = {str(each["href"])[1:] for tag, each in elements if tag == "a"}
    assert links <= set(ids) and {"main", "samples"} <= links
    scrolling = [each for _, each in elements if each.get("class") == "scrolls"]
    assert scrolling and all(each["tabindex"] == "0" and each["aria-label"] for each in scrolling)
    assert "prefers-color-scheme: dark" in html and "currentColor" in html and "width=device-width" in html


def test_every_table_has_its_n_and_what_is_missing() -> None:
    """So does each table with intervals; a row has as many cells as the header."""
    for section in sections(report(*METHODS)):
        for table in section.tables:
            assert {len(row) for row in table.rows} == {len(table.columns)}, table.caption
            if section.plot and "mislead" not in table.caption and "Elo" not in table.caption:
                assert "n" in table.columns and "missing" in table.columns, table.caption


def test_what_is_not_measured_says_so(tmp_path: Path) -> None:
    """One method, no judge: no plot that would need more, and no figure that was not measured."""
    alone = report("vanilla", judge="")
    plots = drawn(alone, tmp_path)
    assert set(plots) == {"over-refusal", "cost"} and not (tmp_path / "bars.png").exists()
    for text in (markdown(alone, plots), page(alone, plots)):
        assert "Not measured: there is no method to compare with vanilla." in text
        assert "Not measured: helpfulness needs a judge" in text
        assert "None: no question has two different answers." in text
    two = report("vanilla", "guided", judge="")
    assert "no answer differs from that of vanilla" in page(two, {}), "no folder of pairs is named that is not there"
    sent = page(two.model_copy(update={"sent": ("pairs", "pairs-2")}), {})
    assert "no judge was given and no rating that can be used. The pairs are in pairs, pairs-2, blind" in sent
    unknown = {"n": 0, "missing": 17, "p": nan, "p_corrected": nan}
    change = report("vanilla", "guided").changes[0].model_copy(update=unknown)
    lost = page(report("vanilla", "guided").model_copy(update={"changes": (change,)}), {})
    assert re.search("harmlessness</td><td.*?>not measured</td>.*?>0</td>.*?>17</td>.*?>not measured</td>", lost)


def test_a_judge_that_is_the_model_is_a_warning_in_every_table_of_its_verdicts() -> None:
    own = report(*METHODS, judge="A-Model")
    warned = {section.id for section in sections(own) for table in section.tables if "Warning" in table.caption}
    assert warned == {"pairs", "over-refusal", "helpfulness", "changes", "cells"}
    assert not [table for section in sections(report(*METHODS)) for table in section.tables if "Warn" in table.caption]
    rated = own.model_copy(update={"judge": ""})
    assert "Warning" in next(section for section in sections(rated) if section.id == "pairs").tables[0].caption


def test_plots_in_the_page_have_no_background_of_their_own(written: Path) -> None:
    """In the dark, light letters would stand on white."""
    shown = re.findall("<svg.*?</svg>", (written / "report.html").read_text(), re.S)
    assert len(shown) == len(PLOTS) and not [svg for svg in shown if "#ffffff" in svg]


def test_plots_of_an_earlier_report_do_not_stay(tmp_path: Path) -> None:
    drawn(report("vanilla", "guided"), tmp_path)
    assert (tmp_path / "bars.svg").exists() and (tmp_path / "helpfulness.png").exists()
    drawn(report("vanilla", "guided", judge=""), tmp_path)
    assert not list(tmp_path.glob("bars.*")) and not list(tmp_path.glob("helpfulness.*"))
