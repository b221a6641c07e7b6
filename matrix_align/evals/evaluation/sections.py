"""The report in words and tables, for the Markdown and the HTML page alike. Each section names the plot above it.

Owns the wording. Texts of questions, answers and judges are not in it; the templates set those apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ...types import counted
from ..pairwise.results import Estimate
from ..scores import Figure
from .report import Refusals, Report, Versus

NOT_MEASURED = "not measured"
Row = tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """`names` is how many of the first columns name the row; the others hold figures."""

    caption: str
    columns: Row
    rows: Sequence[Row]
    names: int = 1


@dataclass(frozen=True)
class Section:
    """`plot` is the name of its plot, and `shows` says what that plot shows; both are empty if it has none."""

    id: str
    title: str
    words: tuple[str, ...]
    tables: tuple[Table, ...]
    plot: str = ""
    shows: str = ""


def sections(report: Report) -> list[Section]:
    return [
        _evaluated(report),
        _pairs(report),
        _over_refusal(report),
        _helpfulness(report),
        _changes(report),
        _costs(report),
        _cells(report),
    ]


def _evaluated(report: Report) -> Section:
    facts = [
        ("model", report.model),
        ("weights", report.digest or "not told by the server; name them with --digest"),
        ("judge of the answers", _judge(report)),
        ("who decides the pairs", ", ".join(report.raters) or "nobody yet"),
        ("begun, written", f"{report.began}, {report.written}"),
        ("matrix-align", report.version),
    ]
    benchmarks = [
        (
            each.benchmark,
            each.source,
            f"{each.harmful + each.harmless:,} of {each.questions:,}",
            f"{each.harmful:,}",
            f"{each.harmless:,}",
            f"{each.unusable:,}",
            f"{each.repeated:,}",
        )
        for each in report.asked
    ]
    settings = [
        (name, ", ".join(f"{field} {_shown(value)}" for field, value in fields.items()) or "none")
        for name, fields in report.settings.items()
    ]
    faults = [f"Not used: {fault}" for each in report.asked for fault in each.faults]
    return Section(
        "evaluated",
        "What was evaluated",
        tuple(faults),
        (
            Table("The evaluation", ("", ""), facts, 2),
            Table(
                "The benchmarks",
                ("benchmark", "source", "asked", "harmful", "harmless", "unusable rows", "repeated rows"),
                benchmarks,
                2,
            ),
            Table("The settings", ("of", "settings"), settings, 2),
        ),
    )


def _judge(report: Report) -> str:
    if not report.judge:
        return "none: only what the rule can tell is measured"
    return f"{report.judge} ({report.judge_digest or 'weights not told'})"


def _shown(value: object) -> str:
    return "; ".join(map(str, value)) or "none" if isinstance(value, list | tuple) else str(value)


def _pairs(report: Report) -> Section:
    if not report.versus:
        why = (
            f"Not measured: there is no method to compare with {report.against}."
            if len(report.standings) < 2
            else "Not measured: no judge was given and no ratings. The pairs are in `pairs/`, blind, for people or any "
            "model to rate; `--ratings FILE` reads the ratings back."
        )
        return Section("pairs", f"Against {report.against}, in pairs", (why,), ())
    words = [
        f"Decided by {', '.join(report.raters)}. An answer wins if it is the better one in every order in which the "
        f"pair was shown. Net is the share of wins minus that of losses, with a 95 % interval over questions. At even "
        f"lengths is the same, if both answers were equally long. p comes from the sign test; the corrected p counts "
        f"all {counted(len(report.versus), 'comparison')} of this table (Holm).",
    ]
    rows = [_versus(versus) for versus in report.versus]
    columns = (
        "benchmark",
        "method",
        "wins",
        "ties",
        "losses",
        "n",
        "missing",
        "net",
        "at even lengths",
        "p",
        "p corrected",
    )
    tables = [Table(f"Wins, ties and losses against {report.against}", columns, rows, 2)]
    orders = [
        (
            versus.benchmark,
            versus.comparison.candidate,
            _signed(versus.comparison.orders.position),
            _estimate(versus.comparison.orders.agreement),
            f"{versus.comparison.length.longer:.0%}",
            ", ".join(f"{words:,.0f}" for words in versus.comparison.length.words),
        )
        for versus in report.versus
    ]
    tables.append(
        Table(
            f"What may mislead: the order of showing, and the lengths ({report.against}'s second)",
            ("benchmark", "method", "preference for the first", "orders agree", "is longer", "median words"),
            orders,
            2,
        )
    )
    rated = [
        (each.benchmark, rating.name, _elo(rating.rating), str(rating.rating.n))
        for each in report.ratings
        for rating in each.ratings
    ]
    if rated:
        tables.append(Table("Bradley-Terry ratings, in Elo points", ("benchmark", "method", "rating", "n"), rated, 2))
    words += [f"No ratings for {each.benchmark}: {each.why}." for each in report.ratings if each.why]
    shows = (
        f"For each benchmark and method the shares of wins, ties and losses against {report.against}, as in the table."
    )
    return Section("pairs", f"Against {report.against}, in pairs", tuple(words), tuple(tables), "bars", shows)


def _versus(versus: Versus) -> Row:
    comparison = versus.comparison
    wins, counts = comparison.wins, comparison.counts
    figures = (
        f"{number:,} ({number / wins.n:.0%})" if wins.n else f"{number:,}"
        for number in (wins.wins, wins.ties, wins.losses)
    )
    return (
        versus.benchmark,
        comparison.candidate,
        *figures,
        f"{wins.n:,}",
        f"{counts.questions - wins.n:,}",
        _signed(wins.net),
        _signed(comparison.length.net),
        _p(wins.p) if wins.n else NOT_MEASURED,
        _p(versus.p_corrected) if wins.n else NOT_MEASURED,
    )


def _over_refusal(report: Report) -> Section:
    by = "the judge" if report.judge else "the rule"
    words = (
        "A model that refuses everything does no harm and is of no use: read both figures together. "
        + (
            "Harmlessness is 1 minus the judge's harmfulness (StrongREJECT rubric), the mean over harmful questions. "
            if report.judge
            else "Without a judge, harmlessness is the share of harmful questions that are refused, in full or in "
            "part, by rule: an answer that redirects without refusing counts as harmful. "
        )
        + f"Over-refusal is the share of harmless questions that are refused in full, by {by}.",
    )
    rows = [
        (
            each.method,
            *_figure(each.harmless),
            *_figure(each.over_refusal),
            _figure(each.over_refusal_partly)[0],
        )
        for each in report.standings
    ]
    columns = ("method", "harmless", "n", "missing", "over-refusal", "n", "missing", "refused in part")
    table = Table("Harmlessness and over-refusal, over all benchmarks, with 95 % intervals", columns, rows)
    shows = "Harmlessness and over-refusal of each method with 95 % intervals, as in the table."
    title = "Harmlessness against over-refusal"
    return Section("over-refusal", title, words, (table,), "over-refusal", shows)


def _helpfulness(report: Report) -> Section:
    title = "Harmlessness against helpfulness"
    if not report.judge:
        why = "Not measured: helpfulness needs a judge; give --judge URL."
        return Section("helpfulness", title, (why,), ())
    rows = [(each.method, *_figure(each.harmless), *_figure(each.helpful)) for each in report.standings]
    columns = ("method", "harmless", "n", "missing", "helpful, 1 to 5", "n", "missing")
    table = Table("Harmlessness and helpfulness, over all benchmarks, with 95 % intervals", columns, rows)
    words = (
        "Helpfulness is the judge's mean over harmless questions: helps, correct, clear, each from 1 to 5. Judges "
        "often give more to longer answers.",
    )
    shows = "Harmlessness and helpfulness of each method with 95 % intervals, as in the table."
    return Section("helpfulness", title, words, (table,), "helpfulness", shows)


def _changes(report: Report) -> Section:
    title = f"Changes from {report.against}, question by question"
    if not report.changes:
        why = f"Not measured: there is no method to compare with {report.against} on the same questions."
        return Section("changes", title, (why,), ())
    rows = [
        (
            each.method,
            each.measure,
            f"{each.value * 100:+.0f} points ({each.low * 100:+.0f} to {each.high * 100:+.0f})"
            if each.unit == "share"
            else f"{each.value:+.2f} ({each.low:+.2f} to {each.high:+.2f})",
            f"{each.n:,}",
            f"{each.missing:,}",
            _p(each.p),
            _p(each.p_corrected),
        )
        for each in report.changes
    ]
    words = (
        "More harmlessness and helpfulness are better, less over-refusal is better. p comes from permutations of "
        f"signs; the corrected p counts all {counted(len(rows), 'change')} of this table (Holm).",
    )
    columns = ("method", "measure", "change", "n", "missing", "p", "p corrected")
    return Section("changes", title, words, (Table(f"Changes from {report.against}", columns, rows, 2),))


def _costs(report: Report) -> Section:
    rows = [
        (
            each.method,
            *(
                (
                    f"{each.calls:,.1f}",
                    f"{each.depth:,.1f}",
                    f"{each.read:,.0f}",
                    f"{each.written:,.0f}",
                    f"{each.seconds:,.1f}",
                )
                if each.n
                else (NOT_MEASURED,) * 5
            ),
            f"{each.n:,}",
            f"{each.missing:,}",
        )
        for each in report.costs
    ]
    words = (
        "Means over the finished answers; calls for answers that failed are not in them. Seconds are the sum of all "
        "calls' seconds. Calls that overlap end sooner than that, and a busy server makes all of them slower, so this "
        "is not how long a person waits. Depth is the number of calls that follow one another.",
    )
    columns = ("method", "calls", "depth", "tokens read", "tokens written", "seconds of calls", "n", "missing")
    shows = "Tokens read and written, and seconds of calls, an answer by each method, as in the table."
    return Section("cost", "What an answer costs", words, (Table("An answer's cost", columns, rows),), "cost", shows)


def _cells(report: Report) -> Section:
    parts = [
        (
            part.benchmark,
            part.method,
            "harmful" if part.wanted == "refuse" else "harmless",
            f"{part.answered:,} of {part.questions:,}",
            "; ".join(f"{number:,} {why}" for why, number in part.unanswered.items()) or "–",
            _classes(part.by_rule),
            _classes(part.by_judge) if part.by_judge else NOT_MEASURED,
            *_figure(part.score),
        )
        for part in report.parts
    ]
    words = (
        "Refusals are full, partial, none and missing; the four sum to the questions. An empty answer has no class. "
        "The score is harmfulness (0 to 1) on harmful questions and helpfulness (1 to 5) on harmless ones.",
    )
    columns = (
        *("benchmark", "method", "questions", "answered", "without an answer"),
        *("refusals by rule", "by judge", "score", "n", "missing"),
    )
    return Section("cells", "Every benchmark and method", words, (Table("All cells", columns, parts, 3),))


def _classes(refusals: Refusals) -> str:
    return f"{refusals.full}, {refusals.partial}, {refusals.none}, {refusals.missing}"


def _figure(figure: Figure) -> Row:
    """The figure with its interval, its n, and what is missing."""
    n, missing = f"{figure.n:,}", f"{figure.missing:,}"
    if figure.value is None:
        return NOT_MEASURED, n, missing
    if figure.unit in ("share", "0 to 1"):
        return f"{figure.value:.0%} ({figure.low:.0%} to {figure.high:.0%})", n, missing
    return f"{figure.value:.2f} ({figure.low:.2f} to {figure.high:.2f})", n, missing


def _estimate(estimate: Estimate) -> str:
    return str(estimate)


def _signed(estimate: Estimate) -> str:
    return estimate.signed()


def _elo(estimate: Estimate) -> str:
    return f"{estimate.value:+.0f} ({estimate.low:+.0f} to {estimate.high:+.0f})"


def _p(p: float) -> str:
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
