"""The stage over real HTTP on a thread of its own, and scenes for it: Ann's, and one whose every text is hostile."""

from __future__ import annotations

from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from starlette.applications import Starlette

from matrix_align import Answer, Endpoint, Store
from matrix_align.llm.recorded import Recorded
from matrix_align.web.pages import static
from matrix_align.web.stage import Player, routes

from .fake import FakeServer
from .pages import served_at
from .staged import staged

HOSTILE = """<img src=x onerror="alert(1)"><script>alert(2)</script>'"&{{7*7}}"""
NAME = "<b onclick=alert(3)>'\"&"

INITIAL = "Knock on the door at once. Ask for quiet in a calm voice. Call the police if it goes on."
REVISED = "Wait until the morning. Ask for quiet in a calm and friendly voice. Call the landlord before the police."
POINTS = (
    {"incidents": [1], "quotes": [1], "problem": "It is late.", "change": "Wait until the morning to visit."},
    {"incidents": [2], "quotes": [3], "problem": "It scares.", "change": "Talk to the landlord before calling."},
)


def stage_at(record: Path, player: Player | None = None) -> AbstractContextManager[str]:
    """The address of a stage that shows this record."""
    return served_at(Starlette(routes=[*routes(record, player), static()]))


async def scene_of_ann(server: FakeServer, store: Store, **changes: Any) -> Answer:
    """Ann's scene in the record, with two steps, reactions, two points and a revision."""
    texts = iter((INITIAL, REVISED))
    server.on["text"] = lambda _: next(texts)
    given: dict[str, Any] = {"reacts": {"Guard": "The guard looks up."}, "points": POINTS, "words": {1: [1]}} | changes
    async with Endpoint(server.url, server.name) as model:
        answer, _ = await staged(server, Recorded(model, store), "Ann knocks.", "Ann calls.", **given)  # type: ignore[arg-type]
    store.save(answer)
    return answer


def hostile(answer: Answer, id: str = "f" * 16) -> Answer:
    """The same answer with hostile words in every text that a model or a user can write."""
    data = answer.model_dump(mode="json")
    names = {name: NAME + str(place) for place, name in enumerate(("Ann", "Guard", "Bank", "Door"))}
    kept = {"how", "kind", "harm", "cause", "ending", "answer"}  # words of our own

    def spoiled(value: Any, name: str = "") -> Any:
        if isinstance(value, dict):
            return {key: spoiled(each, key) for key, each in value.items()}
        if isinstance(value, list):
            return [spoiled(each, name) for each in value]
        if not isinstance(value, str) or name in kept:
            return value
        return names.get(value, HOSTILE)

    scene = spoiled({key: value for key, value in data["scene"].items() if key not in ("question", "settings")})
    for event, was in zip(scene["events"], data["scene"]["events"], strict=True):
        event["verdict"] |= {"ending": was["verdict"]["ending"], "harm": HOSTILE}
    scene |= {"question": data["question"] | {"text": HOSTILE}, "settings": data["scene"]["settings"]}
    data |= {
        "id": id,
        "question": scene["question"],
        "initial": HOSTILE,
        "text": HOSTILE,
        "model": HOSTILE,
        "scene": scene,
    }
    data |= {"error": HOSTILE, "calls": [call | {"who": HOSTILE, "kind": HOSTILE} for call in data["calls"]]}
    return Answer.model_validate({key: value for key, value in data.items() if key not in ("usage", "depth")})
