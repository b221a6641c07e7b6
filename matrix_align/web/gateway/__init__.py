"""The gateway: an OpenAI-compatible endpoint in front of the model. The name of a model says what is done first.

completions.py decides what a request asks for. passing.py passes it to the model as it is. Offers `Gateway` and
`routes`. Knows no page.
"""

from .gateway import Gateway, Limits
from .routes import routes

__all__ = ["Gateway", "Limits", "routes"]
