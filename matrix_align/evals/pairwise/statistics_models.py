"""Two logistic models of who wins: one takes the length of the answers out, the other rates many contestants.

Both have a weak normal prior on their coefficients (standard deviation 5 in log-odds), so that they stay finite where
one side wins everything. A tie counts as half a win and half a loss. Intervals are bootstrapped over questions.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .results import NOT_MEASURED, Estimate
from .statistics import Array, bootstrapped, means

PRIOR = 5.0  # standard deviation in log-odds; log-odds of 5 are a win rate of 99.3 %
ELO = 400 / np.log(10)  # points for one unit of log-odds
STEPS, LONGEST = 100, 2.0  # of Newton's method


def fitted(design: Array, wins: Array, losses: Array, start: Array | None = None) -> Array:
    """The coefficients (fits, coefficients) that make wins and losses (fits, rows) likeliest, under the prior.

    `design` is (rows, coefficients), the same for all fits. Newton's method, for all fits together, from `start` if it
    is given; its steps are limited, since they can overshoot where wins are nearly separable.
    """
    from scipy.special import expit

    size = design.shape[1]
    products = (design[:, :, None] * design[:, None, :]).reshape(len(design), -1)
    theta = np.zeros((len(wins), size)) + (0 if start is None else start)
    for _ in range(STEPS):
        p = expit(theta @ design.T)
        slope = (wins - (wins + losses) * p) @ design - theta / PRIOR**2
        curvature = (((wins + losses) * p * (1 - p)) @ products).reshape(-1, size, size) + np.eye(size) / PRIOR**2
        step = np.linalg.solve(curvature, slope[..., None])[..., 0]
        length = np.linalg.norm(step, axis=1, keepdims=True)
        theta += step * np.minimum(1.0, LONGEST / np.maximum(length, LONGEST / 2))
        if length.max() < 1e-7:  # steps shrink quadratically, so that the next one would be nothing
            break
    return theta


def length_controlled(won: Sequence[float], longer_by: Sequence[int], seed: int = 0) -> tuple[Estimate, Estimate]:
    """The net win rate at equal lengths, and the log-odds that a typical difference in length adds.

    `won` is 1, 0.5 or 0 a question, `longer_by` the difference in characters. After AlpacaEval 2 (Dubois et al. 2024,
    arXiv 2404.04475): the log-odds of a win are a constant plus a factor times tanh(difference / scale), and the
    figure is what the model says where the difference is 0. Departures: theirs has a term for each question's
    difficulty, fitted on their leaderboard, and an L1 penalty by cross-validation; ours has neither, but the prior. The
    scale is the root mean square, not the standard deviation, so that it is right where one side is always longer.
    """
    from scipy.special import expit

    y, difference = np.asarray(won, dtype=float), np.asarray(longer_by, dtype=float)
    n = len(y)
    if n < 2 or y.min() == y.max():  # nothing varies that length could explain
        return means([2 * y - 1], -1, 1, seed)[0], NOT_MEASURED
    scale = float(np.sqrt(np.mean(difference**2))) or 1.0
    design = np.column_stack([np.ones(n), np.tanh(difference / scale)])

    whole = fitted(design, y[None, :], 1 - y[None, :])

    def of_weights(weights: Array) -> Array:
        constant, factor = fitted(design, weights * y, weights * (1 - y), whole).T
        return np.stack([2 * expit(constant) - 1, factor * np.tanh(1)])

    values, lows, highs = bootstrapped(of_weights, n, seed)
    net, effect = (Estimate(value=v, low=a, high=b, n=n) for v, a, b in zip(values, lows, highs, strict=True))
    return net, effect


def bradley_terry(won: Array, who: Sequence[tuple[int, int]], contestants: int, seed: int = 0) -> list[Estimate]:
    """Elo points of each contestant, relative to the first (Bradley and Terry 1952). At least two questions.

    `won` is (questions, comparisons): 1, 0.5 or 0 for the first of the two that `who` names by number, and NaN where
    that comparison has no outcome. The comparisons connect all contestants (see `connected`).
    """
    design = np.zeros((len(who), contestants))
    for row, (one, other) in enumerate(who):
        design[row, one], design[row, other] = 1, -1
    wins, losses = np.nan_to_num(won), np.nan_to_num(1 - won)
    whole = fitted(design, wins.sum(axis=0)[None, :], losses.sum(axis=0)[None, :])

    def of_weights(weights: Array) -> Array:
        theta = fitted(design, weights @ wins, weights @ losses, whole)
        points: Array = ELO * (theta - theta[:, :1]).T
        return points

    values, lows, highs = bootstrapped(of_weights, len(won), seed)
    rated = [np.count_nonzero(~np.isnan(won[:, design[:, place] != 0]).all(axis=1)) for place in range(contestants)]
    return [Estimate(value=v, low=a, high=b, n=n) for v, a, b, n in zip(values, lows, highs, rated, strict=True)]


def connected(won: Array, who: Sequence[tuple[int, int]], contestants: int, strongly: bool = False) -> Array:
    """The number of each contestant's group: those in one group are compared with one another, directly or by others.

    `strongly`: each has also scored against the rest of its group. Otherwise nothing but the prior bounds the distance
    between two groups (Ford 1957).
    """
    from scipy.sparse.csgraph import connected_components

    links = np.zeros((contestants, contestants))
    for column, (one, other) in enumerate(who):
        links[one, other] += np.nansum(won[:, column])
        links[other, one] += np.nansum(1 - won[:, column])
    groups: Array = connected_components(links, connection="strong" if strongly else "weak")[1]
    return groups
