"""matrix-align: a language model rehearses the social consequences of an answer, and rewrites it.

MATRIX (Pang et al., ICML 2024, arXiv 2402.05699). These are the public names; nothing inside the package imports them
from here. Each is loaded when it is first used, so that `matrix-align --help` loads none.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .errors import (
        BadReply,
        ClusterError,
        ContextOverflow,
        EmbeddedError,
        InputError,
        MatrixAlignError,
        ModelError,
        Overloaded,
        QuotaExceeded,
        Refused,
        StoreError,
        Unreachable,
    )
    from .llm.caller import Caller
    from .llm.endpoint import Endpoint
    from .llm.model import Model, Reply, Scripted
    from .llm.recorded import Recorded
    from .methods import METHODS, Setup
    from .simulation.scene import play
    from .simulation.types import Scene, Settings
    from .store import Store
    from .types import Answer, Message, Question, Sampling, Usage

# The modules that hold the public names.
_HOMES = [
    "errors",
    "types",
    "store",
    "llm.model",
    "llm.endpoint",
    "llm.recorded",
    "simulation.types",
    "simulation.scene",
    "llm.caller",
    "methods",
]

__all__ = [
    "METHODS",
    "Answer",
    "BadReply",
    "Caller",
    "ClusterError",
    "ContextOverflow",
    "EmbeddedError",
    "Endpoint",
    "InputError",
    "MatrixAlignError",
    "Message",
    "Model",
    "ModelError",
    "Overloaded",
    "Question",
    "QuotaExceeded",
    "Recorded",
    "Refused",
    "Reply",
    "Sampling",
    "Scene",
    "Scripted",
    "Settings",
    "Setup",
    "Store",
    "StoreError",
    "Unreachable",
    "Usage",
    "play",
]


def __getattr__(name: str) -> Any:
    if name in __all__:
        for home in _HOMES:
            module = import_module(f".{home}", __name__)
            if name in vars(module):
                return vars(module)[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
