"""The gateway: an OpenAI-compatible endpoint in front of the model. The name of a model says what is done first.

completions.py decides what a request asks for. passing.py passes it to the model as it is. Offers `Gateway` and
`routes`, and `Completions`, which answers the requests to the path `COMPLETIONS`. Knows no page.
"""

from .completions import Completions
from .gateway import Gateway, Limits
from .routes import COMPLETIONS, routes

__all__ = ["COMPLETIONS", "Completions", "Gateway", "Limits", "routes"]
