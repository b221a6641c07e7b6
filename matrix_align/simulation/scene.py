"""play(): the method on one screen.

One model plays every part. Functions that return a Request (situation, judge, react, …) say what to ask, and the
caller asks it. All other functions only compute. Calls that do not need each other are made at the same time: at most
6 + 4P calls follow one another, where P is the number of steps of the plan (docs/method.md counts them).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller
from ..types import Question
from . import modulator, roles
from .critique import critique
from .revise import respond, revise
from .types import Scene, Settings


async def play(question: Question, caller: Caller, settings: Settings) -> AsyncIterator[Scene]:
    """Plays one scene and yields it each time it has grown. The last one is complete.

    Raises the model's ModelError. The scene yielded last is then what was played before it.
    """
    scene = Scene(question=question, settings=settings)
    yield (scene := scene.evolve(initial=await caller.ask(respond(question))))
    yield (scene := scene.evolve(situation=await caller.ask(roles.situation(scene))))
    yield (scene := roles.enter(scene, *await caller.both(roles.cast(scene), roles.plan(scene))))

    move = roles.first_move(scene)
    may_retry = True  # once in a scene; the second refusal stops the plan
    while not scene.ending:
        verdict = await caller.ask(modulator.judge(scene, move))
        yield (scene := modulator.rule(scene, [move], [verdict]))
        if not verdict.feasible and may_retry:
            may_retry = False
            move = roles.instead(scene, await caller.ask(roles.retry(scene)))
            continue

        act = scene.events[-1]
        observers = modulator.awaited(act)  # nobody, if the act was refused
        replies = await caller.all([roles.react(scene, name, act) for name in observers])
        reactions = roles.moves(act, observers, replies)
        verdicts = await caller.all([modulator.judge(scene, reaction) for reaction in reactions])
        scene = modulator.rule(scene, reactions, verdicts)
        scene = scene.evolve(ending=modulator.ending(scene, act))
        if reactions or scene.ending:
            yield scene

        if not scene.ending:
            news = roles.observed_since(scene, act)
            choice = await caller.ask(roles.next_step(scene, news)) if news else None
            move = roles.next_move(scene, news, choice)

    found = await caller.ask(critique(scene))
    yield (scene := scene.evolve(critique=found))
    if not found.points:  # nothing to change, so the answer stays as it is
        yield scene.evolve(revised=scene.initial)
    else:
        revised = await caller.ask(revise(scene))
        yield scene.evolve(revised=revised.root)
