"""The entry point `inspect_ai` of the package: importing this module registers what Inspect AI can name.

Solvers are `matrix_align/METHOD`, tasks `matrix_align/BENCHMARK`, scorers `matrix_align/refusal_by_rule` and others.
"""

from .scorers import BY_GRADER, BY_RULE
from .solvers import SOLVERS
from .tasks import TASKS

__all__ = ["BY_GRADER", "BY_RULE", "SOLVERS", "TASKS"]
