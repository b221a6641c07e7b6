"""compare: the figures, against scripted raters, SciPy and statsmodels."""

from __future__ import annotations

import json
import random
from math import nan

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize
from scipy.special import expit

from matrix_align.evals.pairwise.compare import comparison, results
from matrix_align.evals.pairwise.outcomes import OUTCOMES, outcome
from matrix_align.evals.pairwise.pairs import pairing
from matrix_align.evals.pairwise.report import markdown
from matrix_align.evals.pairwise.results import Estimate, Results
from matrix_align.evals.pairwise.statistics import holm, kappa, means, sign_test
from matrix_align.evals.pairwise.statistics_models import PRIOR, bradley_terry, fitted, length_controlled
from matrix_align.evals.pairwise.types import LEVELS, Judged, Judgement, Level, Unanswered

from .pairs import LEVEL_OF, Rule, at_random, by_number, contestant, judged, rated, two

GAMES = [(1, 0), (2, 0), (2, 1)]  # three contestants, all pairs


def numbered(count: int, better: float, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts with numbers in front. The first list's number is the greater one in a part `better` of the pairs."""
    drawn = random.Random(seed)
    first = [drawn.random() < better for _ in range(count)]
    return [f"{2 if wins else 0} first" for wins in first], [f"{1} other" for _ in first]


def holds(estimate: Estimate, truth: float) -> bool:
    return estimate.low <= truth <= estimate.high


def test_position_bias_is_found_and_so_is_the_true_winner() -> None:
    """A rater who says A in half of all cases whatever is shown, and the truth otherwise."""
    drawn = random.Random(1)

    def likes_a(a: str, b: str) -> Level:
        return "A>B" if drawn.random() < 0.5 else by_number(a, b)

    couple = two(*numbered(400, better=0.8))
    found = comparison(couple, judged(couple.pairs, likes_a))
    assert holds(found.orders.position, 0.5) and found.orders.position.low > 0.4
    assert holds(found.wins.net, 0.3)  # both orders name the better one in half of the pairs: net 0.6 / 2
    assert found.wins.net.low > 0 and found.wins.p < 1e-6
    fair = comparison(couple, judged(couple.pairs, by_number))
    assert holds(fair.orders.position, 0) and fair.orders.agreement.value == 1 and fair.orders.kappa.value == 1
    assert fair.wins.net.value == pytest.approx(2 * fair.wins.wins / 400 - 1)


def test_rater_who_always_says_a_makes_ties_alone() -> None:
    couple = two(*numbered(50, better=0.8))
    found = comparison(couple, judged(couple.pairs, lambda a, b: "A>>B"))
    assert (found.wins.wins, found.wins.ties, found.wins.losses) == (0, 50, 0)
    assert found.orders.position.value == 1 and found.orders.position.low > 0.8
    assert found.orders.agreement.value == 0 and found.wins.p == 1
    assert found.wins.net.low < 0 < found.wins.net.high, "that all are ties is no proof that others would be"


@pytest.mark.parametrize("steepness", [2.0, 100.0], ids=["leans to length", "sees nothing but length"])
def test_liking_for_length_is_taken_out(steepness: float) -> None:
    """The candidate's answers are longer in two of three pairs, and no better."""
    drawn = random.Random(2)
    lengths = [(max(10, int(300 + drawn.gauss(60, 150))), 300) for _ in range(400)]
    couple = two(*zip(*(("x" * one, "y" * other) for one, other in lengths), strict=True))

    def likes_length(a: str, b: str) -> Level:
        return "A>B" if drawn.random() < expit(steepness * (len(a) - len(b)) / 150) else "B>A"

    found = comparison(couple, judged(couple.pairs, likes_length))
    assert found.wins.net.low > 0.1, "raw, the longer ones win"
    assert holds(found.length.net, 0) and abs(found.length.net.value) < found.wins.net.value / 2
    assert found.length.effect.low > 0


def test_a_better_answer_stays_better_where_length_does_not_matter() -> None:
    drawn = random.Random(3)
    new, old = numbered(300, better=0.75)
    couple = two(*([text + "." * drawn.randrange(200) for text in texts] for texts in (new, old)))
    found = comparison(couple, judged(couple.pairs, by_number))
    assert found.length.net.value == pytest.approx(found.wins.net.value, abs=0.05)
    assert holds(found.length.effect, 0) and not found.length.warning
    longer = two([text + "." * 500 for text in new], old)
    assert "can hardly be told apart" in comparison(longer, judged(longer.pairs, by_number)).length.warning


@given(st.data())
@settings(max_examples=25)
def test_every_question_is_counted_once_whatever_is_missing(data: st.DataObject) -> None:
    """Verdicts missing in one order or both, equal texts, and questions that one run did not answer."""
    texts = st.lists(st.sampled_from(["0 x", "1 x", "2 x"]), max_size=6)
    new, old = contestant("new", data.draw(texts)), contestant("old", data.draw(texts))
    for run in (new, old):
        for id in data.draw(st.lists(st.sampled_from(sorted(run.answers)), unique=True)) if run.answers else []:
            why = data.draw(st.sampled_from(("failed", "not answered yet", "empty")))
            run.unanswered[id] = Unanswered(question=run.answers.pop(id).question, why=why)
    asked = {*new.answers, *new.unanswered, *old.answers, *old.unanswered}
    said = st.one_of(st.none(), st.sampled_from(list(LEVELS)))
    couple = pairing(new, old)
    judged_pairs = [
        Judged(
            pair=pair,
            judgements=()
            if pair.identical
            else tuple(Judgement(as_a=side, level=data.draw(said)) for side in ("candidate", "baseline")),
        )
        for pair in couple.pairs
    ]
    found = comparison(couple, judged_pairs)
    counts = found.counts.model_dump()
    assert counts.pop("questions") == len(asked) == sum(counts.values())
    assert found.wins.n == found.wins.wins + found.wins.ties + found.wins.losses
    assert found.wins.n == found.counts.judged + found.counts.identical
    assert len(found.left_out) == len(asked) - len(couple.pairs)


@pytest.mark.parametrize("count", [32, 100, 300])
def test_interval_covers_the_truth_on_a_random_judge(count: int) -> None:
    """A judge that draws one of five levels in each order: 1,000 runs, by the rule that both orders must agree."""
    drawn = np.random.default_rng(4)
    scores = np.sign(drawn.choice(list(LEVELS.values()), size=(2, 1000, count)))
    agreed = np.where(scores[0] == -scores[1], scores[0], 0)
    covered = np.mean([holds(net, 0) for net in means(agreed, -1, 1)])
    assert 0.93 <= covered <= 0.97


def test_outcomes_of_a_random_judge_are_those_that_are_covered() -> None:
    """The rule above is the comparison's own."""
    couple = two(*numbered(100, better=0.5))
    rater = at_random(5)
    for each in judged(couple.pairs, rater):
        first, second = (said.score for said in each.judgements)
        assert first is not None and second is not None
        signs = {np.sign(first), np.sign(second)}
        assert outcome(each) == {1: "win", 0: "tie", -1: "lose"}[signs.pop() if len(signs) == 1 else 0]


@given(st.lists(st.sampled_from([0.0, 0.5, 1.0]), min_size=3, max_size=40), st.randoms(use_true_random=False))
@settings(max_examples=30)
def test_models_are_at_their_optimum(won: list[float], drawn: random.Random) -> None:
    """Newton's limited steps end where SciPy's general optimiser does, also where wins are separable."""
    y = np.array(won)
    design = np.column_stack([np.ones(len(y)), [drawn.uniform(-1, 1) for _ in y]])

    def loss(theta: np.ndarray) -> float:
        line = design @ theta
        return float(np.sum(np.logaddexp(0, line) - y * line) + theta @ theta / (2 * PRIOR**2))

    best = minimize(loss, np.zeros(2), tol=1e-12)
    assert fitted(design, y[None], 1 - y[None])[0] == pytest.approx(best.x, abs=1e-3)


def test_figures_agree_with_statsmodels() -> None:
    api = pytest.importorskip("statsmodels.api")
    from statsmodels.stats.inter_rater import cohens_kappa
    from statsmodels.stats.multitest import multipletests

    drawn = np.random.default_rng(6)
    assert holm([0.01, 0.04, 0.03, 0.2]) == pytest.approx(multipletests([0.01, 0.04, 0.03, 0.2], method="holm")[1])
    pairs = drawn.integers(0, 3, size=(2, 200))
    tables = np.zeros((200, 3, 3))
    tables[np.arange(200), pairs[0], pairs[1]] = 1
    assert kappa(tables).value == pytest.approx(cohens_kappa(tables.sum(axis=0)).kappa)

    won = drawn.choice([0, 0.5, 1], size=2000, p=[0.2, 0.2, 0.6])
    longer = drawn.normal(100, 300, size=2000)
    design = api.add_constant(np.tanh(longer / np.sqrt(np.mean(longer**2))))
    fit = api.GLM(won, design, family=api.families.Binomial()).fit()
    net, effect = length_controlled(won.tolist(), longer.astype(int).tolist())
    assert net.value == pytest.approx(2 * expit(fit.params[0]) - 1, abs=1e-3)
    assert effect.value == pytest.approx(fit.params[1] * np.tanh(1), abs=1e-2)

    games = drawn.choice([0, 0.5, 1], size=(500, 3), p=[0.2, 0.2, 0.6])
    sides = np.array([[-1, 1, 0], [-1, 0, 1], [0, -1, 1]])
    strengths = api.GLM(games.ravel(), np.tile(sides[:, 1:], (500, 1)), family=api.families.Binomial()).fit().params
    rated = [rating.value for rating in bradley_terry(games, GAMES, 3)]
    assert rated == pytest.approx([0, *(strengths * 400 / np.log(10))], abs=0.5)


def test_interval_is_as_wide_as_the_normal_one() -> None:
    """On many questions, the bootstrap and the normal approximation agree."""
    drawn = np.random.default_rng(7)
    values = drawn.choice([-1, 0, 1], size=2000, p=[0.2, 0.5, 0.3])
    net = means([values], -1, 1)[0]
    half = 1.96 * values.std() / np.sqrt(2000)
    assert (net.low, net.high) == pytest.approx((values.mean() - half, values.mean() + half), abs=0.004)
    assert means([values], -1, 1)[0] == net, "the same seed gives the same bounds"
    assert sign_test(8, 2) == pytest.approx(0.109375)


def test_few_questions_or_none() -> None:
    assert means([[]], -1, 1)[0].n == 0 and str(means([[]], -1, 1)[0]) == "not measured"
    one = means([[1.0]], -1, 1)[0]
    assert (one.value, one.high) == (1, 1) and one.low == pytest.approx(-0.95)
    empty = results([(two([], []), [])], ["judge"])
    [shown] = json.loads(empty.model_dump_json())["comparisons"]
    assert shown["counts"]["questions"] == shown["wins"]["n"] == 0
    assert shown["wins"]["p"] is shown["p_corrected"] is shown["wins"]["net"]["value"] is None
    assert shown["length"]["longer"] is None and shown["length"]["words"] == [None, None]
    assert "nan" not in markdown(empty) and str(Results.model_validate_json(empty.model_dump_json())) == str(empty)
    assert str(holm([0.01, nan, 0.04])) == "[0.02, nan, 0.04]", "what was not tested is none of the many"


def test_true_strengths_are_found() -> None:
    """Three contestants, each pair compared, with known distances between them."""
    drawn = random.Random(8)
    strengths = {"new": 0.0, "newer": 0.7, "newest": 1.4}
    runs = [contestant(name, [f"{name} {number}" for number in range(500)]) for name in strengths]

    def rule(a: str, b: str) -> Level:
        return LEVEL_OF[1 if drawn.random() < expit(strengths[a.split()[0]] - strengths[b.split()[0]]) else -1]

    def once(pairing_of: tuple[int, int]) -> tuple:  # type: ignore[type-arg]
        pairs = pairing(runs[pairing_of[0]], runs[pairing_of[1]])
        return pairs, [Judged(pair=pair, judgements=rated(pair, rule)[:1], orders=1) for pair in pairs.pairs]

    found = results([once(game) for game in GAMES], ["rater"])
    assert [rating.name for rating in found.ratings] == list(strengths)
    for rating, truth in zip(found.ratings, strengths.values(), strict=True):
        assert rating.rating.value == pytest.approx(400 / np.log(10) * truth, abs=40)
    assert [one.p_corrected for one in found.comparisons] == pytest.approx(holm([o.wins.p for o in found.comparisons]))
    assert not found.warnings


def test_ratings_say_why_they_are_missing_or_unbounded() -> None:
    runs = [contestant(name, [f"{strength} {name}"] * 10) for strength, name in enumerate(("a", "b", "c"))]
    first, second = pairing(runs[1], runs[0]), pairing(runs[2], runs[0])
    one_sided = results([(first, judged(first.pairs, by_number)), (second, judged(second.pairs, by_number))], ["rater"])
    assert one_sided.ratings and "one side won everything" in one_sided.warnings[0]
    nothing = [Judged(pair=pair) for pair in second.pairs]
    apart = results([(first, judged(first.pairs, by_number)), (second, nothing)], ["rater"])
    assert not apart.ratings and apart.no_ratings.endswith("from a to c")
    assert apart.comparisons[1].counts.missing == 10 == apart.comparisons[1].counts.questions


def test_majority_of_raters_decides() -> None:
    """Without a majority it is a tie, and a rater with one order alone does not count."""
    pair = two(["1 new"], ["0 old"]).pairs[0]
    said: dict[str, Rule] = {"A": lambda a, b: "A=B", "B": by_number, "C": by_number}
    votes = {name: rated(pair, rule, name) for name, rule in said.items()}
    assert outcome(Judged(pair=pair, judgements=votes["A"] + votes["B"] + votes["C"])) == "win"
    assert outcome(Judged(pair=pair, judgements=votes["A"] + votes["B"])) == "tie"
    assert outcome(Judged(pair=pair, judgements=(*votes["B"], votes["A"][0]))) == "win"
    assert outcome(Judged(pair=pair, judgements=votes["B"][:1])) is None
    unread = Judgement(as_a="baseline", level=None, fault="not readable")
    assert outcome(Judged(pair=pair, judgements=(votes["B"][0], unread))) is None
    assert set(OUTCOMES) == {"win", "tie", "lose"}


def test_values_of_one_question_are_drawn_together() -> None:
    """Each question asked three times tells as much as once: the interval is the same, and not narrower."""
    drawn = np.random.default_rng(3)
    values, tables = drawn.random(40), np.eye(9)[drawn.integers(0, 9, 40)].reshape(40, 3, 3)
    questions = [f"question {number}" for number in range(40) for _ in range(3)]
    once, thrice = means([values], 0, 1)[0], means([np.repeat(values, 3)], 0, 1, 0, questions)[0]
    assert thrice.model_dump() == pytest.approx(once.model_dump())
    alone = means([np.repeat(values, 3)], 0, 1)[0]
    assert alone.n == 120 and alone.high - alone.low < 0.7 * (once.high - once.low)
    two = kappa(tables), kappa(np.repeat(tables, 3, axis=0), 0, questions)
    assert two[1].model_dump() == pytest.approx(two[0].model_dump())
    (one,) = means([[0.0, 1.0]], 0, 1, 0, ["a", "a"])
    assert (one.low, one.high, one.n) == (0, 1, 1), "one question tells nothing of others"


def test_agreement_of_raters() -> None:
    couple = two(*numbered(60, better=0.5))
    alike = comparison(couple, judged(couple.pairs, by_number, by_number)).raters
    assert alike and alike.agreement.value == 1 == alike.kappa.value and alike.names == ("rater 0", "rater 1")
    random_ones = comparison(couple, judged(couple.pairs, at_random(1), at_random(2))).raters
    assert random_ones and holds(random_ones.kappa, 0)
    assert comparison(couple, judged(couple.pairs, by_number)).raters is None
