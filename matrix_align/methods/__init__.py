"""The methods: ways to answer a question, MATRIX and what it is compared with, each one file.

`METHODS` names them; `Method` and `Setup` (method.py) are what runs, exports and pages know of them. A method sees a
`Caller`, and no HTTP, record or file.
"""

from ..simulation.prompts import PROMPTS
from ..simulation.types import Settings
from .matrix import matrix
from .method import Method, Setup
from .vanilla import NoSettings, vanilla

__all__ = ["METHODS", "Method", "Setup"]

METHODS = {
    method.name: method
    for method in (
        Method("matrix", matrix, Settings, PROMPTS),
        Method("vanilla", vanilla, NoSettings),
    )
}
