"""The scene, played over real HTTP on the fake endpoint: order and number of calls, seeds, failures and bounds."""

from __future__ import annotations

import asyncio
import json
import re
from itertools import accumulate, pairwise
from typing import Any

import pytest
from aiohttp import web

from matrix_align import (
    Answer,
    BadReply,
    ContextOverflow,
    Endpoint,
    MatrixAlignError,
    Message,
    Model,
    ModelError,
    Overloaded,
    Question,
    Refused,
    Sampling,
    Scene,
    Unreachable,
)

from .conftest import answered, played, watched
from .fake import FakeServer, Fault, completion, drop, error, fill, kind

SETTING_UP = ("Situation", "Opening", "Stance")
KINDS = (*SETTING_UP, "Verdict", "Reaction", "Choice", "Deviation", "Instead", "Aftermath", "Critique", "text")
SETUP = [2, 2]  # how many are asked at once: initial and situation, opening and stance
AT_FIRST = {"Initial and Situation": [2], "Opening and Stance": [2]}
CLOSING = [1, 1, 1]  # aftermath, critique, revision


def text_of(body: dict[str, Any]) -> str:
    return "\n".join(message["content"] for message in body["messages"])


def size(body: dict[str, Any]) -> int:
    return len(text_of(body))


def steady(body: dict[str, Any]) -> Any:
    """A reply in which all goes well, and which depends only on the request."""
    schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
    return fill(schema, schema, f"thing {body['seed']}") if schema else f"It depends, on {body['seed']}."


async def until_failed(model: Model, **settings: Any) -> tuple[list[Answer], ModelError]:
    """All states of an answer that fails, and the error it raised."""
    answers: list[Answer] = []
    with pytest.raises(ModelError) as raised:
        async for answer in watched(model, **settings):
            answers.append(answer)
    return answers, raised.value


class CriticalPath:
    """Stands behind the fake endpoint, and measures how many requests really came one after the other.

    A request's depth is one more than the deepest request answered before it arrived. Requests that should be made at
    once are held until all have arrived, and refused if they don't, so no clock matters: `together` says of a kind how
    many these are, time after time. `blind` holds the beginnings of the names of roles that observe nothing.
    """

    def __init__(self, server: FakeServer, together: dict[str, list[int]], blind: tuple[str, ...] = ()) -> None:
        self.answered = 0  # the deepest so far
        self._server = server
        self._blind = blind
        self._depths: dict[int, int] = {}
        self._gates = {
            name: iter([gate for count in counts for gate in [asyncio.Barrier(count)] * count])
            for name, counts in together.items()
        }
        server.faults = [self._arrive] * 100
        server.on |= dict.fromkeys(KINDS, self._leave)

    @staticmethod
    def _group(body: dict[str, Any]) -> str:
        what = kind(body)
        if what == "Verdict" and '"stopped"' in json.dumps(body["response_format"]):
            return "Verdict on a reaction"
        first = what in ("Situation", "Asker", "Risk") or (what == "text" and "<effects>" not in text_of(body))
        if what in ("Opening", "Stance", "Refusal"):
            return "Opening and Stance"
        return "Initial and Situation" if first else what

    async def _arrive(self, request: web.Request) -> web.Response | None:
        body = await request.json()
        self._depths[body["seed"]] = self.answered + 1
        if gate := next(self._gates.get(self._group(body), iter(())), None):
            try:
                await asyncio.wait_for(gate.wait(), 20)
            except (TimeoutError, asyncio.BrokenBarrierError):
                return error(400, f"the others of {self._group(body)} did not come")
        return None

    def _leave(self, body: dict[str, Any]) -> Any:
        self.answered = max(self.answered, self._depths[body["seed"]])
        said = self._server.default(body)
        if kind(body) == "Verdict":
            said["observers"] = [name for name in said["observers"] if not name.startswith(self._blind)]
        return said


async def test_whole_scene(server: FakeServer, model: Endpoint) -> None:
    """At the paper's size, with everyone observing everything, the scene stays within its limits."""
    answer, scene = await answered(model, roles=5, steps=5)
    assert scene.ending
    assert scene.ending.how == "steps finished"
    assert len(answer.calls) == len(server.requests) == 76
    assert answer.depth == 6 + 4 * 5
    assert scene.revised


async def test_what_can_be_asked_at_once_is(server: FakeServer, model: Endpoint) -> None:
    """The first two calls, the next two, a step's reactions, their verdicts: each group is there before it is answered.

    All roles have seen what the others did at the last step, but for the one that did it last. They have their last
    turns at the same time too. (In a full scene the ego has one as well.)
    """
    roles = [5] * 5 + [4]
    groups = AT_FIRST | {"Initial and Situation": [3], "Reaction": roles, "Verdict on a reaction": roles}
    path = CriticalPath(server, groups)
    answer, _ = await answered(model, roles=5, steps=5, detail="brief")
    assert server.busiest == 5
    assert path.answered == answer.depth == 6 + 4 * 5
    waves = [3, 2, *[1, 5, 5, 1] * 4, 1, 5, 5, 4, 4, *CLOSING]
    depths = [call.depth for call in answer.calls]
    assert [depths.count(depth) for depth in range(1, answer.depth + 1)] == waves


@pytest.mark.parametrize(
    ("blind", "depth"), [(("ego", "name"), 5 + 5), (("ego",), 7 + 3 * 5)], ids=["nobody observes", "the ego does not"]
)
async def test_depth_where_the_ego_has_nothing_to_react_to(
    server: FakeServer, model: Endpoint, blind: tuple[str, ...], depth: int
) -> None:
    """No call is spent on the ego's next step."""
    roles = [] if "name" in blind else [5] * 5 + [4]
    path = CriticalPath(server, AT_FIRST | {"Reaction": roles, "Verdict on a reaction": roles}, blind)
    answer, scene = await answered(model, roles=5, steps=5)
    assert sum(event.step for event in scene.events if event.actor.startswith("ego")) == 1 + 2 + 3 + 4 + 5
    assert not {"Choice", "Deviation"} & set(server.kinds())
    assert path.answered == answer.depth == depth


async def test_depth_with_a_refusal(server: FakeServer, model: Endpoint) -> None:
    """This is the longest possible scene: everyone reacts at every step, and one action is tried again."""
    refusals = [True]

    def verdict(body: dict[str, Any]) -> Any:
        return server.default(body) | {"feasible": not (refusals and refusals.pop())}

    server.on["Verdict"] = verdict
    answer, scene = await answered(model, roles=5, steps=5)
    assert [call.kind for call in answer.calls].count("retry") == 1
    assert scene.ending and scene.ending.how == "steps finished"
    assert answer.depth == 8 + 4 * 5
    assert len(server.requests) == 78


async def test_calls_are_listed_as_asked(server: FakeServer, model: Endpoint) -> None:
    """Replies to calls made at once may come in any order. The scene lists the calls in the order of the cast."""
    seconds = {"1": 0.05, "2": 0.0, "3": 0.1}  # how late each role's reply is

    async def late(request: web.Request) -> None:
        body = await request.json()
        if kind(body) == "Reaction" and (duty := re.search(r"duty thing \d+\.(\d)", text_of(body))):
            await asyncio.sleep(seconds[duty.group(1)])

    server.faults = [late] * 100
    answer, scene = await answered(model, roles=3, steps=2)
    names = list(scene.set_up[1].names())
    for step in (1, 2):
        asked = [call.who for call in answer.calls if call.kind == "reaction" and call.step == step]
        assert asked == names + [scene.ego, *names[:-1]] * (step == 2), "at their last turns too"


async def test_earlier_turns_and_system_prompt_reach_the_model(server: FakeServer, model: Endpoint) -> None:
    """The initial and the revised response both answer the chat as it is. The scene is set up for it."""
    earlier = (Message(role="user", content="I bake bread."), Message(role="assistant", content="How nice."))
    question = Question(text="How do I sell it?", history=earlier, system="You are a kind baker.")
    scene = await played(model, question, roles=2, steps=2)
    chat = [
        {"role": "system", "content": "You are a kind baker."},
        {"role": "user", "content": "I bake bread."},
        {"role": "assistant", "content": "How nice."},
        {"role": "user", "content": "How do I sell it?"},
    ]
    assert server.requests[0]["messages"] == chat
    assert server.requests[-1]["messages"][:3] == chat[:3]
    assert "How do I sell it?" in server.requests[-1]["messages"][3]["content"]
    for of in (*SETTING_UP, "Aftermath", "Critique"):
        assert "I bake bread." in server.prompts(of)[0] and "a kind baker" in server.prompts(of)[0]
    assert scene.question == question


async def test_seeds(server: FakeServer, model: Endpoint) -> None:
    """The same seed makes the same requests, whatever order replies come in. Another seed draws every reply anew."""
    server.on = dict.fromkeys(KINDS, steady)
    asked: list[list[dict[str, Any]]] = []
    scenes = []
    for seed in (7, 7, 8):
        server.requests.clear()
        scenes.append(await played(model, sampling=Sampling(seed=seed)))
        asked.append(sorted(server.requests, key=lambda body: str(body["seed"])))
    assert asked[0] == asked[1]
    assert scenes[0].events == scenes[1].events and scenes[0].revised == scenes[1].revised
    seeds = [{body["seed"] for body in each} for each in asked]
    assert len(seeds[0]) == len(asked[0]), "each call has a seed of its own"
    assert not seeds[0] & seeds[2]


async def test_snapshots_grow(server: FakeServer, model: Endpoint) -> None:
    """Each state holds the one before it and more, from the initial response to the finished scene."""
    answers = [answer async for answer in watched(model)]
    for earlier, later in pairwise(answers):
        assert later.calls[: len(earlier.calls)] == earlier.calls
    scenes = [Scene.of(answer) for answer in answers]
    assert scenes[0].initial and scenes[0].situation and not scenes[0].cast
    assert scenes[-1].revised and scenes[-1].critique and scenes[-1].aftermath
    for before, after in pairwise(scenes):
        assert after != before
        assert after.events[: len(before.events)] == before.events
        for part in ("initial", "situation", "stance", "cast", "plan", "ending", "aftermath", "critique", "revised"):
            assert getattr(before, part) in (None, getattr(after, part))


# Failures.

WAVES = [*SETUP, 1, 2, 2, 1, 1, 2, 2, 2, 2, *CLOSING]  # of a scene of two roles and two steps


@pytest.mark.parametrize("place", range(sum(WAVES)))
async def test_a_call_fails(server: FakeServer, model: Endpoint, place: int) -> None:
    """Wherever it fails, the scene so far is kept with its error, and so are the calls made at the same time."""

    def let_pass(_: web.Request) -> None:
        return None

    def refuse(_: web.Request) -> web.Response:
        return error(400, "not today")

    server.latency = 0.02  # the refusal is there before the other replies
    server.faults = [*[let_pass] * place, refuse]
    answers, fault = await until_failed(model, roles=2, steps=2)
    assert type(fault) is Refused
    assert "not today" in str(fault)
    assert answers[-1].error == f"Refused: {fault}"
    assert not any(answer.error for answer in answers[:-1])
    assert len(server.requests) == next(n for n in accumulate(WAVES) if n > place)
    assert len(answers[-1].calls) == len(server.requests) - 1
    if answers[:-1]:
        assert answers[-1].evolve(error=None, calls=answers[-2].calls) == answers[-2]


@pytest.mark.parametrize(
    ("fault", "typed"),
    [
        (lambda _: error(503, "out of memory"), Overloaded),
        (drop, Unreachable),
        (lambda _: completion("I would rather not."), BadReply),
        (lambda _: error(400, "prompt exceeds the context size"), ContextOverflow),
    ],
    ids=["503", "drop", "bad reply", "overflow"],
)
async def test_kinds_of_failure(server: FakeServer, fault: Fault, typed: type[MatrixAlignError]) -> None:
    """The scene's error names the class that is raised."""
    server.on = {"Reaction": lambda body: completion("I would rather not.")}

    async def only_reactions(request: web.Request) -> Any:
        if kind(await request.json()) != "Reaction":
            return None
        answer = fault(request)
        return await answer if asyncio.iscoroutine(answer) else answer

    server.faults = [only_reactions] * 100
    async with Endpoint(server.url, server.name, attempts=1) as model:
        scenes, raised = await until_failed(model, roles=2, steps=2)
    assert type(raised) is typed
    assert scenes[-1].error == f"{typed.__name__}: {raised}"
    assert len(Scene.of(scenes[-1]).events) == 1


# Bounds.


async def test_overflow_shortens_memory_and_asks_again(server: FakeServer, model: Endpoint) -> None:
    """A server with a small context gets the same call with less memory, and the scene continues to its end."""
    refused: list[dict[str, Any]] = []
    limit = 4200  # characters: enough for every prompt without its memory

    def small(body: dict[str, Any]) -> Any:
        if size(body) > limit:
            refused.append(body)
            return error(400, "the request exceeds the available context size")
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        return fill(schema, schema, "and so on " * 8) if schema else "It depends."

    server.on = dict.fromkeys(KINDS, small)
    answer, scene = await answered(model, roles=3, steps=4)
    assert answer.error is None and scene.ending and scene.revised
    assert {kind(body) for body in refused} >= {"Verdict", "Reaction", "Deviation", "Aftermath", "Critique"}
    fitting = {body["seed"]: body for body in server.requests if size(body) <= limit}
    assert len(fitting) == len(answer.calls)
    for body in refused:
        assert size(fitting[body["seed"]]) < size(body)


async def test_overflow_with_nothing_to_shorten(server: FakeServer, model: Endpoint) -> None:
    """The question itself is too long. It is asked once, beside the call for the situation, and the error raised."""
    server.on["text"] = lambda _: error(400, "prompt is too long")
    scenes, raised = await until_failed(model)
    assert type(raised) is ContextOverflow
    assert server.kinds().count("text") == 1 and len(server.requests) == 2
    assert len(scenes) == 1 and scenes[0].initial is None


async def test_a_large_scene_stays_linear(server: FakeServer, model: Endpoint) -> None:
    """At 20 roles x 20 steps, every prompt is bounded, and the second half costs hardly more than the first."""

    def wordy(body: dict[str, Any]) -> Any:
        schema = body.get("response_format", {}).get("json_schema", {}).get("schema")
        return fill(schema, schema, f"{body['seed']} and so on" * 6) if schema else "It depends."

    server.on = dict.fromkeys(KINDS, wordy)
    scene = await played(model, roles=20, steps=20, memory=6000)
    assert len(scene.events) == 20 * 21 + 20
    assert sum(len(event.action) + len(event.verdict.outcome) for event in scene.events) > 60_000
    assert max(map(size, server.requests)) < 18_000
    half = len(server.requests) // 2
    assert sum(map(size, server.requests[half:])) < 1.2 * sum(map(size, server.requests[:half]))
