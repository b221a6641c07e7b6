"""simulate: one scene around one question, as it happens."""

import asyncio
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ..errors import InputError
from .options import (
    Adapter,
    AnswerTokens,
    AsJson,
    DetailOf,
    Digest,
    Memory,
    ModelName,
    Roles,
    Seed,
    Steps,
    StorePath,
    Temperature,
    Without,
    checked,
    print_json,
    setup_of,
)

if TYPE_CHECKING:
    from ..methods import Setup
    from ..types import Question


def simulate(
    question: Annotated[str, typer.Argument(help="What a user would ask. - reads it from standard input.")] = "",
    roles: Roles = 5,
    steps: Steps = 5,
    detail: DetailOf = None,
    without: Without = None,
    endpoint: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    model: ModelName = None,
    digest: Digest = None,
    adapter: Adapter = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    answer_tokens: AnswerTokens = None,
    memory: Memory = None,
    chat: Annotated[
        Path | None, typer.Option(help="JSON list of messages instead of QUESTION: system, earlier turns, question.")
    ] = None,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Play one scene around QUESTION: initial response, scene, aftermath, critique, revised response.

    The API key comes from MATRIX_ALIGN_API_KEY or OPENAI_API_KEY. If the record already has a scene with the same
    question, settings and seed, it is shown again.
    """
    setup = setup_of(
        endpoint,
        model,
        seed,
        temperature,
        answer_tokens,
        roles=roles,
        steps=steps,
        detail=detail,
        without=without,
        memory=memory,
    )
    asyncio.run(_simulate(_question(question, chat), setup, endpoint, model, digest, adapter, store, as_json))


async def _simulate(
    question: "Question",
    setup: "Setup",
    endpoint: str | None,
    model: str | None,
    digest: str | None,
    adapter: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    from ..llm.open import open_model
    from ..llm.recorded import Recorded
    from ..store import Store, default_path
    from .show import Stage

    stage, began = None if as_json else Stage(), time.monotonic()
    with Store(store or default_path()) as record:
        async with open_model(endpoint, model, adapter, digest) as served:
            answer = None
            if stage:
                stage.begin(question)
            async for answer in setup.answer(question, Recorded(served, record)):
                if answer.calls:  # without an answered call there is no scene to keep
                    record.save(answer)  # as it grows, so that others can watch it
                if stage and not answer.error:  # the error goes to standard error
                    stage.show(answer)
        if as_json and answer:
            print_json(answer.model_dump_json())
        elif stage and answer:
            stage.figures(answer, time.monotonic() - began)


def _question(text: str, chat: Path | None) -> "Question":
    from ..types import Message, Question

    if bool(text) == bool(chat):
        raise InputError("give either QUESTION, in quotes, or --chat FILE.json")
    if not chat:
        return checked(Question, text=sys.stdin.read() if text == "-" else text)
    try:
        found = json.loads(chat.read_text(encoding="utf-8"))
        turns = [Message.model_validate(each) for each in found]
    except OSError as error:
        raise InputError(f"can't read {chat}: {error.strerror}") from None
    except (ValueError, TypeError, RecursionError):
        raise InputError(f'{chat} is not a JSON list of messages like {{"role": "user", "content": "…"}}') from None
    system = turns.pop(0).content if turns and turns[0].role == "system" else None
    if not turns or turns[-1].role != "user" or any(turn.role == "system" for turn in turns):
        raise InputError(f"{chat}: wanted an optional system message, then turns, of which the last is the user's")
    return checked(Question, text=turns[-1].content, history=tuple(turns[:-1]), system=system)
