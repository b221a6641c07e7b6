"""The methods: MATRIX, and the methods that it is compared with. Each one is a file.

`METHODS` holds them by name. Runs and exports know only `Method` and `Setup` (method.py). A method sees a `Caller`, and
no HTTP, record or file.
"""

from ..simulation.prompts import PROMPTS
from ..simulation.types import Settings
from .matrix import matrix
from .method import Method, Setup, last
from .vanilla import NoSettings, vanilla

__all__ = ["METHODS", "Method", "Setup", "last"]

METHODS = {
    method.name: method
    for method in (
        Method("matrix", matrix, Settings, PROMPTS),
        Method("vanilla", vanilla, NoSettings),
    )
}
