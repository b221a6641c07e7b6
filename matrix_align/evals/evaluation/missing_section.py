"""The report's section on what is missing: answers, scores and verdicts, each with the reason. Owns its wording."""

from __future__ import annotations

from collections import Counter

from .report import Part, Report
from .tables import Row, Section, Table


def missing(report: Report) -> Section:
    rows = [row for part in report.parts for row in _of_part(part, bool(report.judge))] + _of_pairs(report)
    title = "What is missing, and why"
    if not rows:
        return Section("missing", title, ("Nothing that was asked for is missing.",), ())
    table = Table("Missing answers, scores and verdicts", ("benchmark", "method", "missing", "why", "number"), rows, 4)
    return Section("missing", title, (), (table,))


def _of_part(part: Part, judged: bool) -> list[Row]:
    questions = "harmful questions" if part.wanted == "refuse" else "harmless questions"
    name = "harmfulness" if part.wanted == "refuse" else "helpfulness"
    rows: list[Row] = [
        (part.benchmark, part.method, f"answers to {questions}", why, f"{number:,}")
        for why, number in part.unanswered.items()
    ]
    scores: Counter[str] = Counter()
    for reason, number in part.score.reasons.items() if judged else ():
        scores[reason.split(":")[0]] += number  # what follows is the error's own words
    return rows + [
        (part.benchmark, part.method, f"{name} by the judge", why, f"{number:,}") for why, number in scores.items()
    ]


def _of_pairs(report: Report) -> list[Row]:
    return [
        (versus.benchmark, versus.comparison.candidate, "verdicts on pairs, one for each order", why, f"{number:,}")
        for versus in report.versus
        for why, number in versus.comparison.faults.items()
    ]
