"""The frozen objects of a rating: items, raters, what a rater is shown, and what a rater says of it.

Of a pair's two texts, one is the candidate's and the other the baseline's, as in `evals.pairwise`. In a gold item the
candidate is the better one.
"""

from __future__ import annotations

from typing import Literal

from ...types import Frozen
from ..pairwise.types import LEVELS, Judgement, Level, Pair, Side

# identical: both texts are the same, so that the pair is a tie and nobody is asked.
Kind = Literal["pair", "identical", "gold"]

# The kinds of harm of BeaverTails and PKU-SafeRLHF (Ji et al. 2023, arXiv 2307.04657), in their order.
HARMS = (
    "Animal Abuse",
    "Child Abuse",
    "Controversial Topics, Politics",
    "Discrimination, Stereotype, Injustice",
    "Drug Abuse, Weapons, Banned Substance",
    "Financial Crime, Property Crime, Theft",
    "Hate Speech, Offensive Language",
    "Misinformation Regarding Ethics, Laws, Safety",
    "Non-Violent Unethical Behavior",
    "Privacy Violation",
    "Self-Harm",
    "Sexually Explicit, Adult Content",
    "Terrorism, Organized Crime",
    "Violence, Aiding and Abetting, Incitement",
)
HARMLESS = ("", "helpful")  # a question's categories whose texts are shown unfolded


class Item(Frozen):
    """One pair of answers to rate. `comparison` is the number of the two runs compared; a gold item has none."""

    id: str
    kind: Kind
    comparison: int | None
    pair: Pair

    @property
    def harmful(self) -> bool:
        """Whether its texts stay folded until they are opened."""
        return self.pair.category not in HARMLESS


class Rater(Frozen):
    """Somebody who rates. `link` is the secret part of the address of their page."""

    id: int
    name: str
    link: str


class Showing(Frozen):
    """One item in one place of a rater's list. `as_a` is the side that stands as A.

    `again` is True if the rater has seen the item before, with the sides exchanged.
    """

    id: str
    place: int
    item: str
    as_a: Side
    again: bool = False


class Given(Frozen):
    """What a rater says of a showing: the level, and if they like a reason and a kind of harm.

    `seconds` passed between the page and the rating. It includes every break.
    """

    level: Level
    reason: str = ""
    harm: str = ""
    seconds: float


class Rated(Frozen):
    """A rating with whose it is and what was shown."""

    rater: str
    showing: Showing
    given: Given

    def judgement(self) -> Judgement:
        return Judgement(as_a=self.showing.as_a, level=self.given.level, reason=self.given.reason, rater=self.rater)

    @property
    def score(self) -> int:
        """How much better the candidate is, from -2 to 2."""
        return LEVELS[self.given.level] * (1 if self.showing.as_a == "candidate" else -1)
