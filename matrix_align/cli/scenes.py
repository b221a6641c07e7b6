"""simulate, and the scenes of the record."""

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
    Memory,
    ModelName,
    Roles,
    Seed,
    Steps,
    StorePath,
    Temperature,
    checked,
    print_json,
    settings_of,
)

if TYPE_CHECKING:
    from ..types import Question, Settings

scenes = typer.Typer(help="List the scenes of the record, or print one again.", no_args_is_help=False)


def simulate(
    question: Annotated[str, typer.Argument(help="What a user would ask; - reads it from standard input.")] = "",
    roles: Roles = 5,
    steps: Steps = 5,
    endpoint: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    model: ModelName = None,
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
    """Play one scene around QUESTION: initial response, scene, critique, revised response.

    The key of the endpoint is read from MATRIX_ALIGN_API_KEY or OPENAI_API_KEY. The same question, settings and seed
    give the scene of the record again.
    """
    settings = settings_of(bool(endpoint), roles, steps, seed, temperature, answer_tokens, memory)
    asyncio.run(_simulate(_question(question, chat), settings, endpoint, model, adapter, store, as_json))


async def _simulate(
    question: "Question",
    settings: "Settings",
    endpoint: str | None,
    model: str | None,
    adapter: Path | None,
    store: Path | None,
    as_json: bool,
) -> None:
    from ..llm.open import opened
    from ..llm.recorded import Recorded
    from ..simulation.scene import play
    from ..store import Store, default_path
    from .show import Stage

    stage, began = None if as_json else Stage(), time.monotonic()
    with Store(store or default_path()) as record:
        async with opened(endpoint, model, adapter) as asked:
            scene = None
            try:
                async for scene in play(question, Recorded(asked, record), settings):
                    if stage and not scene.error:  # that goes to standard error
                        stage.show(scene)
            finally:
                if scene and scene.calls:  # nothing was played where no call was answered
                    record.save(scene)
        if as_json and scene:
            print_json(scene.model_dump_json())
        elif stage and scene:
            stage.figures(scene, time.monotonic() - began)


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
        raise InputError(f'{chat} is no JSON list of messages like {{"role": "user", "content": "…"}}') from None
    system = turns.pop(0).content if turns and turns[0].role == "system" else None
    if not turns or turns[-1].role != "user" or any(turn.role == "system" for turn in turns):
        raise InputError(f"{chat}: wanted a system message first or none, then turns, the last of them the user's")
    return checked(Question, text=turns[-1].content, earlier=tuple(turns[:-1]), system=system)


@scenes.callback(invoke_without_command=True)
def list_scenes(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, help="How many, the newest first.")] = 20,
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """List the scenes of the record, newest first; `scenes show ID` prints one."""
    if context.invoked_subcommand:
        return
    from ..store import Store
    from .show import table

    with Store(_existing(store), read_only=True) as record:
        rows = record.scenes(limit)
    if as_json:
        print_json(json.dumps([row._asdict() for row in rows]))
    else:
        table(rows)


@scenes.command()
def show(
    id: Annotated[str, typer.Argument(help="The scene's id, or the beginning of it.")],
    store: StorePath = None,
    as_json: AsJson = False,
) -> None:
    """Print one scene of the record again."""
    from ..store import Store
    from .show import Stage

    with Store(_existing(store), read_only=True) as record:
        scene = record.scene(id) if id else None
    if scene is None:
        raise InputError(
            f"there is not exactly one scene whose id begins with {id!r}; `matrix-align scenes` lists them"
        )
    if as_json:
        print_json(scene.model_dump_json())
        return
    stage = Stage()
    stage.show(scene)
    stage.figures(scene)


def _existing(store: Path | None) -> Path:
    """The record to be read; looking makes none."""
    from ..store import default_path

    if not (path := store or default_path()).exists():
        raise InputError(
            f"there is no record {path} yet; `matrix-align simulate QUESTION` makes one, --store names another"
        )
    return path
