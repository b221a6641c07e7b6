"""What a report says, as frozen objects: `evaluation.json` holds them, and the pages and plots draw them.

Owns the report's figures and their names. Knows no model and no run, and does not compute.
"""

from __future__ import annotations

from pydantic import JsonValue

from ...types import Frozen
from ..benchmarks import Wanted
from ..pairwise.results import Comparison, Measured, Rating
from ..scores import Figure

FILE = "evaluation.json"


class Asked(Frozen):
    """The questions of one benchmark. `harmful` ones are to be refused, `harmless` ones to be answered.

    `rows` of its source held `questions`; `harmful` and `harmless` of these are asked. `unusable` rows hold none, and
    `repeated` ones one that another row has. `faults` names the first unusable ones.
    """

    benchmark: str
    source: str
    rows: int
    questions: int
    unusable: int
    repeated: int
    harmful: int
    harmless: int
    faults: tuple[str, ...] = ()


class Refusals(Frozen):
    """Answers by how far they refuse. The four sum to the questions asked."""

    full: int
    partial: int
    none: int
    missing: int


class Part(Frozen):
    """One method on the questions of one benchmark of which the same is wanted.

    `unanswered` counts the questions without an answer by their reasons; with `answered` they sum to `questions`.
    `by_words` counts the answers in which the published list of phrases finds a refusal. `by_judge` is None without a
    judge. `score` is the mean harmfulness (0 to 1) of the answers to harmful questions, or
    the mean helpfulness (1 to 5) of those to harmless ones.
    """

    benchmark: str
    method: str
    wanted: Wanted
    questions: int
    answered: int
    unanswered: dict[str, int]
    by_words: int
    by_rule: Refusals
    by_judge: Refusals | None
    score: Figure


class Standing(Frozen):
    """One method over all benchmarks. `harmless` and `over_refusal` run from 0 to 1, `helpful` from 1 to 5.

    `harmless` is 1 minus the judge's harmfulness; without a judge, the share of harmful questions that are refused, in
    full or in part, by rule. `over_refusal` is the share of harmless questions refused in full, by judge or by rule.
    """

    method: str
    harmless: Figure
    over_refusal: Figure
    over_refusal_partly: Figure
    helpful: Figure


class Change(Frozen):
    """How far a method's `measure` differs from that of the other method, on the `n` questions that have both.

    `p` says how often chance alone gives a difference as large (permutations of signs), `p_corrected` the same
    corrected for all changes of the report (Holm). If n is 0, the figures are NaN.
    """

    method: str
    measure: str
    unit: str
    value: Measured
    low: Measured
    high: Measured
    n: int
    missing: int
    p: Measured
    p_corrected: Measured


class Cost(Frozen):
    """What one answer of a method costs, as means over `n` answers; NaN if n is 0. `missing` questions have none.

    `read` and `written` are tokens. `seconds` is the sum of the calls' seconds; calls that overlap end sooner. `depth`
    is the number of calls that follow one another.
    """

    method: str
    n: int
    missing: int
    calls: Measured
    depth: Measured
    read: Measured
    written: Measured
    seconds: Measured


class Versus(Frozen):
    """A comparison on one benchmark. `p_corrected` is Holm's, over all comparisons of the report."""

    benchmark: str
    comparison: Comparison
    p_corrected: Measured


class Rated(Frozen):
    """Bradley-Terry ratings on one benchmark; none if there are too few, and `why` says so."""

    benchmark: str
    ratings: tuple[Rating, ...]
    why: str = ""


class Sample(Frozen):
    """One pair of answers to read. `chat` is the conversation, as (speaker, text). `verdict` is in words.

    `reasons` are those of the judge or of the raters, as they wrote them: A and B are the sides they saw.
    """

    benchmark: str
    wanted: Wanted
    chat: tuple[tuple[str, str], ...]
    method: str
    answer: str
    against: str
    other: str
    verdict: str
    reasons: tuple[str, ...] = ()


class Report(Frozen):
    """One evaluation. `judge` scores the answers, `raters` decide the pairs; empty if nobody does.

    `sent` are the folders of pairs that are out for rating, if nobody decides them. `settings` are those of each method
    and of the sampling, by name.
    """

    model: str
    digest: str
    version: str
    began: str
    written: str
    against: str
    judge: str
    judge_digest: str
    raters: tuple[str, ...]
    sent: tuple[str, ...] = ()
    settings: dict[str, dict[str, JsonValue]]
    asked: tuple[Asked, ...]
    parts: tuple[Part, ...]
    standings: tuple[Standing, ...]
    changes: tuple[Change, ...]
    costs: tuple[Cost, ...]
    versus: tuple[Versus, ...]
    ratings: tuple[Rated, ...]
    samples: tuple[Sample, ...]
    warnings: tuple[str, ...] = ()
