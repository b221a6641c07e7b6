"""The methods: MATRIX, and the methods that it is compared with. Each one is a file.

`METHODS` holds them by name. Runs and exports know only `Method` and `Setup` (method.py). A method sees a `Caller`, and
no HTTP, record or file.
"""

from ..simulation.prompts import PROMPTS as SCENE
from ..simulation.types import Settings
from . import foresee, guided, safe_prompt, think_first
from .matrix import matrix
from .method import Method, Setup, last
from .vanilla import NoSettings, vanilla

__all__ = ["METHODS", "Method", "Setup", "last"]

METHODS = {
    method.name: method
    for method in (
        Method("matrix", matrix, Settings, (SCENE,)),
        Method("vanilla", vanilla, NoSettings),
        Method("think_first", think_first.think_first, NoSettings, (think_first.PROMPTS,)),
        Method("safe_prompt", safe_prompt.safe_prompt, NoSettings, (safe_prompt.PROMPTS,)),
        Method("guided", guided.guided, NoSettings, (guided.PROMPTS,)),
        Method("foresee", foresee.foresee, foresee.ForeseeSettings, (foresee.PROMPTS, SCENE)),
    )
}
