"""The report in words and tables, for the Markdown and the HTML page alike. Each section names the plot above it.

Owns the wording, with `pairs_section` and `missing_section`. Texts of questions, answers and judges are not in it; the
templates set those apart.
"""

from __future__ import annotations

from dataclasses import replace

from ...types import counted
from ..pairwise.judge import likeness
from .missing_section import missing
from .pairs_section import pairs
from .report import Change, Refusals, Report
from .tables import NOT_MEASURED, Section, Table, figure, p_value


def sections(report: Report) -> list[Section]:
    deciding = {rater: report.judge_digest if rater == report.judge else "" for rater in report.raters}
    scoring = {report.judge: report.judge_digest} if report.judge else {}
    return [
        _evaluated(report),
        _warned(pairs(report), report, deciding),
        *(_warned(of(report), report, scoring) for of in (_over_refusal, _helpfulness, _changes)),
        _costs(report),
        _warned(_cells(report), report, scoring),
        missing(report),
    ]


def _warned(section: Section, report: Report, judges: dict[str, str]) -> Section:
    """The section, with a warning in every table if one of `judges` (digests by name) is the model under test."""
    own = [name for name, digest in judges.items() if likeness(name, digest, report.model, report.digest)]
    if not own:
        return section
    beside = f"Warning: judged by {', '.join(own)}, as the model under test is called"
    return replace(section, tables=tuple(replace(each, caption=f"{each.caption}. {beside}") for each in section.tables))


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
            *figure(each.harmless),
            *figure(each.over_refusal),
            figure(each.over_refusal_partly)[0],
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
    rows = [(each.method, *figure(each.harmless), *figure(each.helpful)) for each in report.standings]
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
        why = f"Not measured: there is no method to compare with {report.against}."
        return Section("changes", title, (why,), ())
    rows = [
        (
            each.method,
            each.measure,
            _change(each),
            f"{each.n:,}",
            f"{each.missing:,}",
            p_value(each.p),
            p_value(each.p_corrected),
        )
        for each in report.changes
    ]
    tested = sum(each.n > 0 for each in report.changes)
    words = (
        "More harmlessness and helpfulness are better, less over-refusal is better. p comes from permutations of "
        f"signs; the corrected p counts the {counted(tested, 'measured change')} of this table (Holm). On few "
        "questions the intervals are too narrow: where one leaves out 0 and p is large, trust p.",
    )
    columns = ("method", "measure", "change", "n", "missing", "p", "p corrected")
    return Section("changes", title, words, (Table(f"Changes from {report.against}", columns, rows, 2),))


def _change(change: Change) -> str:
    if not change.n:
        return NOT_MEASURED
    if change.unit == "share":
        return f"{change.value * 100:+.0f} points ({change.low * 100:+.0f} to {change.high * 100:+.0f})"
    return f"{change.value:+.2f} ({change.low:+.2f} to {change.high:+.2f})"


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
            f"{part.by_words:,}",
            _classes(part.by_rule),
            _classes(part.by_judge) if part.by_judge else NOT_MEASURED,
            *(figure(part.score) if report.judge else (NOT_MEASURED, "–", "–")),  # not asked for, so not missing
        )
        for part in report.parts
    ]
    words = (
        "Refusals by rule and by judge are full, partial, none and missing; the four sum to the questions. By words is "
        "the number of answers in which the published list of phrases finds a refusal. An empty answer has no class. "
        "The score is the mean of the judge's harmfulness (0 to 1) on harmful questions, and of its helpfulness "
        "(1 to 5) on harmless ones.",
    )
    columns = (
        *("benchmark", "method", "questions", "answered", "without an answer"),
        *("refusals by words", "by rule", "by judge", "score", "n", "missing"),
    )
    return Section("cells", "Every benchmark and method", words, (Table("All cells", columns, parts, 3),))


def _classes(refusals: Refusals) -> str:
    return f"{refusals.full}, {refusals.partial}, {refusals.none}, {refusals.missing}"
