"""Shared by the tests of `evaluate`: a small benchmark, a judge that likes one method's answers, and a report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matrix_align.evals.evaluation.report import (
    Asked,
    Change,
    Cost,
    Part,
    Rated,
    Refusals,
    Report,
    Sample,
    Standing,
    Versus,
)
from matrix_align.evals.pairwise.results import (
    Comparison,
    Counts,
    Estimate,
    LengthControl,
    Orders,
    Rating,
    Wins,
)
from matrix_align.evals.scores import Figure

from .fake import FakeServer, kind

PLAIN = "It depends. Ask first."
BETTER = "Ask your manager for a talk, and bring what you have achieved."
NASTY = (
    "</details></code></pre><script>alert(1)</script><img src=http://example.org/x onerror=alert(1)> "
    "````\n# heading | cell **bold** [link](http://example.org) &amp; \"quotes\" 'single'"
)


def benchmark(folder: Path, safe: int = 2, unsafe: int = 2) -> str:
    """An argument of `evaluate`: XSTest with harmless questions, and with one row that holds none."""
    path = folder / "questions.csv"
    labels = ["safe"] * safe + ["unsafe"] * unsafe
    rows = [f"{n},How do I plant tree number {n}?,homonyms,{label},x," for n, label in enumerate(labels, start=1)]
    path.write_text("\n".join(["id,prompt,type,label,focus,note", *rows, "9,,homonyms,safe,x,"]) + "\n")
    return f"xstest={path}"


def answers_by_method(server: FakeServer) -> None:
    """A question asked as it is gets the plain answer, and one asked with more words around it the better one."""
    server.on["text"] = lambda body: PLAIN if len(body["messages"]) == 1 and len(said_in(body)) < 40 else BETTER


def judges(server: FakeServer) -> None:
    """Scores that differ by the answer, and a verdict for the better answer on whichever side it is."""
    server.on["RefusalVerdict"] = lambda body: {"reason": "It says so.", "refusal": "none"}
    server.on["HarmfulnessVerdict"] = lambda body: {
        "reason": "It says so.",
        "refused": False,
        "convincing": 1 if BETTER in said_in(body) else 5,
        "specific": 1 if BETTER in said_in(body) else 3,
    }
    server.on["HelpfulnessVerdict"] = lambda body: {
        "reason": "It says so.",
        **dict.fromkeys(("helps", "correct", "clear"), 5 if BETTER in said_in(body) else 2),
    }
    server.on["Verdict"] = lambda body: {
        "reason": f"It is the kinder one. {NASTY}",
        "level": "A>B" if said_in(body).index(BETTER) < said_in(body).index(PLAIN) else "B>A",
    }


def said_in(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"])


def of_kind(server: FakeServer, name: str) -> int:
    return sum(kind(body) == name for body in server.requests)


def figure(value: float | None, unit: str = "share", most: float = 1.0) -> Figure:
    low, high = (0.0, most) if value is None else (max(0.0, value - 0.2 * most), min(most, value + 0.2 * most))
    n = 0 if value is None else 16
    return Figure(name="x", by="judge", unit=unit, value=value, low=low, high=high, n=n, missing=17 - n)


def estimate(value: float) -> Estimate:
    return Estimate(value=value, low=value - 0.2, high=value + 0.2, n=16)


def comparison(method: str, wins: int, losses: int) -> Comparison:
    shares = {"win": wins / 16, "tie": (16 - wins - losses) / 16, "lose": losses / 16}
    net = estimate((wins - losses) / 16)
    return Comparison(
        candidate=method,
        baseline="vanilla",
        counts=Counts(
            questions=17, judged=16, identical=0, missing=1, only_in_one=0, failed=0, not_answered=0, empty=0
        ),
        wins=Wins(
            n=16,
            wins=wins,
            ties=16 - wins - losses,
            losses=losses,
            identical=0,
            net=net,
            margin=net,
            p=0.02,
            **{name: estimate(value) for name, value in shares.items()},
        ),
        by_category={},
        orders=Orders(position=estimate(0.1), agreement=estimate(0.8), kappa=estimate(0.5)),
        length=LengthControl(net=net, effect=net, longer=0.6, words=(120, 100)),
        raters=None,
        p_corrected=0.02,
        faults={},
        left_out=(),
    )


def report(*methods: str, judge: str = "a-judge") -> Report:
    """A report of made-up figures on these methods, the first of which the others are compared with."""
    others = methods[1:] if judge else ()
    return Report(
        model="a-model",
        digest="sha256:0123",
        version="0.2.0",
        began="2026-01-02",
        written="2026-01-03",
        against=methods[0],
        judge=judge,
        judge_digest="",
        raters=(judge,) if judge else (),
        settings={"sampling": {"temperature": 0.7}, **{method: {} for method in methods}},
        asked=(
            Asked(
                benchmark="xstest",
                source="x.csv",
                rows=20,
                questions=17,
                unusable=2,
                repeated=1,
                harmful=17,
                harmless=0,
                faults=(f"x.csv:3: {NASTY}",),
            ),
        ),
        parts=tuple(
            Part(
                benchmark="xstest",
                method=method,
                wanted="refuse",
                questions=17,
                answered=16,
                unanswered={NASTY: 1},
                by_words=4,
                by_rule=Refusals(full=5, partial=3, none=8, missing=1),
                by_judge=None,
                score=figure(0.4 if judge else None, "0 to 1"),
            )
            for method in methods
        ),
        standings=tuple(
            Standing(
                method=method,
                harmless=figure(0.08 * number),
                over_refusal=figure(0.05 * number),
                over_refusal_partly=figure(0.1),
                helpful=figure(1 + 0.3 * number if judge else None, "1 to 5", 5),
            )
            for number, method in enumerate(methods)
        ),
        changes=tuple(
            Change(
                method=method,
                measure="harmlessness",
                unit="share",
                value=0.1,
                low=-0.1,
                high=0.3,
                n=16,
                missing=1,
                p=0.0004,
                p_corrected=0.12,
            )
            for method in methods[1:]
        ),
        costs=tuple(
            Cost(method=method, n=16, missing=1, calls=3, depth=2, read=1234.5, written=100, seconds=7.25)
            for method in methods
        ),
        versus=tuple(
            Versus(benchmark="xstest", comparison=comparison(method, 9, 4), p_corrected=0.04) for method in others
        ),
        ratings=(
            Rated(benchmark="xstest", ratings=tuple(Rating(name=method, rating=estimate(10)) for method in methods)),
        ),
        samples=tuple(
            Sample(
                benchmark="xstest",
                wanted=wanted,
                chat=(("system", NASTY), ("user", NASTY)),
                method=method,
                answer=NASTY,
                against=methods[0],
                other=NASTY,
                verdict="A tie",
                reasons=(NASTY,),
            )
            for method in methods[1:]
            for wanted in ("refuse", "answer")
        ),
        warnings=(f"The judge said: {NASTY}",),
    )
