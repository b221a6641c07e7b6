"""One scene as one HTML file that needs nothing beside itself and asks nobody for anything.

Its styles and its script are inside. Its own policy names them by their hashes and allows nothing else.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from typing import NamedTuple

from markupsafe import Markup

from ..pages import STATIC, TEMPLATES
from .picture import actor, observers
from .shown import Shown, Spoken


class Inlined(NamedTuple):
    policy: str
    style: Markup
    script: Markup


def file_of(shown: Shown, calls: Sequence[Spoken | None]) -> str:
    """The file's text. `calls` are the answer's, with their prompts."""
    style = "".join((STATIC / name).read_text(encoding="utf-8") for name in ("base.css", "stage.css"))
    script = (STATIC / "scene.js").read_text(encoding="utf-8")
    policy = (
        f"default-src 'none'; img-src data:; style-src {_hash(style)}; script-src {_hash(script)}; "
        "base-uri 'none'; form-action 'none'"
    )
    inlined = Inlined(policy, Markup(style), Markup(script))
    template = TEMPLATES.get_template("stage/scene.html")
    return template.render(shown=shown, actor=actor, observers=observers, calls=calls, doing=None, inlined=inlined)


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
