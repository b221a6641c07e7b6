"""Shows measurements to people and programs: a Markdown table, a JSON object, the results of all rounds.

Asks no model, and decides nothing.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping
from statistics import quantiles

from .measurement import Measurement, changes, not_compared, outcomes, shares
from .rounds import better


def table(columns: Mapping[str, Measurement]) -> str:
    """A Markdown table with a row for each metric and a column for each model. Compares each with the first one."""
    names = list(columns)
    first = columns[names[0]]
    by_model = {name: shares(measurement) for name, measurement in columns.items()}
    lines = [f"| | {' | '.join(names)} |", "|---" * (len(names) + 1) + "|"]
    for metric in dict.fromkeys(metric for metrics in by_model.values() for metric in metrics):
        cells = [str(by_model[name].get(metric, "not measured")) for name in names]
        for place, name in enumerate(names[1:], start=1):
            cells[place] += _change(metric, first, columns[name])
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    failed = [sum(bool(answer.error) for answer in measurement.answers) for measurement in columns.values()]
    if any(failed):
        asked = [len(measurement.answers) for measurement in columns.values()]
        cells = [f"{number} of {of}" for number, of in zip(failed, asked, strict=True)]
        lines.append(f"| questions without an answer | {' | '.join(cells)} |")
    lengths = [_lengths(measurement) for measurement in columns.values()]
    if any(lengths):
        lines.append(f"| words an answer, quartiles | {' | '.join(lengths)} |")
    return "\n".join(lines)


def _change(metric: str, before: Measurement, after: Measurement) -> str:
    if reason := not_compared(before, after).get(metric):
        return f"; not compared: {reason}"
    if not (change := changes(before, after).get(metric)):
        return ""
    most = max(len(outcomes(before)[metric]), len(outcomes(after)[metric]))
    both = f" on the {change.n} in both" if change.n < most else ""
    return f"; {change.part * 100:+.0f} points ({change.low * 100:+.0f} to {change.high * 100:+.0f}){both}"


def _lengths(measurement: Measurement) -> str:
    words = [len(answer.answer.split()) for answer in measurement.answers if not answer.error]
    cut = Counter(answer.cut for answer in measurement.answers)
    filtered = f", {cut['filter']} by a filter" if cut["filter"] else ""
    if not words:
        return ""
    low, middle, high = quantiles(
        words * 2, n=4, method="inclusive"
    )  # each twice, so that one answer has quartiles too
    return f"{low:.0f}, {middle:.0f}, {high:.0f}; {cut.total() - cut['']} of {len(words)} cut off{filtered}"


def incomparable(before: Measurement, after: Measurement) -> list[str]:
    """A line for each reason why metrics of both measurements can't be compared."""
    metrics: dict[str, list[str]] = {}
    for metric, reason in not_compared(before, after).items():
        metrics.setdefault(reason, []).append(metric)
    return [f"not compared: {', '.join(names)}: {reason}" for reason, names in metrics.items()]


def unanswered(measurement: Measurement) -> list[str]:
    """A line for each question that has no answer."""
    return [f"no answer to {answer.question!r}: {answer.error}" for answer in measurement.answers if answer.error]


def summary(measurement: Measurement, earlier: Measurement | None) -> str:
    """The shares as one JSON object, and the differences from an earlier measurement, if given."""
    figures = {
        "model": measurement.model,
        "digest": measurement.digest,
        "measures": {metric: vars(share) for metric, share in shares(measurement).items()},
    }
    if earlier:
        differences = changes(earlier, measurement)
        figures["differences"] = {metric: vars(difference) for metric, difference in differences.items()}
    return json.dumps(figures)


def results(measurements: Mapping[str, Measurement], best: str, weights: str) -> str:
    """The table of all rounds so far, and the model to keep: `weights`, of the round `best`."""
    conclusion = f"The model to keep: {weights} ({best})."
    if best != "base":
        gains = "; ".join(better(measurements, best)) or "nothing"
        conclusion += f" Better than the base, beyond chance: {gains}."
    return f"{table(measurements)}\n\n{conclusion}\n"
