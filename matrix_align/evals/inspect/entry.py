"""The entry point `inspect_ai` of the package: importing this module registers what Inspect AI can name.

Solvers are `matrix_align/METHOD`.
"""

from .solvers import SOLVERS

__all__ = ["SOLVERS"]
