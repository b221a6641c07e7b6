"""play(): the method on one screen.

One model plays every part. Functions that return a Request (situation, judge, react, …) say what to ask, and the
caller asks it. All other functions only compute. Calls that do not need each other are made at the same time: at most
8 + 4P calls follow one another, where P is the number of steps of the plan (docs/method.md counts them).
"""

from __future__ import annotations

from collections.abc import AsyncIterator

from ..llm.caller import Caller
from ..types import Question
from . import modulator, opening, roles
from .critique import aftermath, critique
from .revise import respond, revise
from .types import Critique, Scene, Settings


async def play(question: Question, caller: Caller, settings: Settings) -> AsyncIterator[Scene]:
    """Plays one scene and yields it each time it has grown. The last one is complete.

    Raises the model's ModelError. The scene yielded last is then what was played before it.
    """
    scene = Scene(question=question, settings=settings)
    first = [respond(question), opening.situation(scene), *([opening.risk(scene)] if settings.brief else [])]
    initial, situation, *risk = await caller.all(first)
    yield (scene := scene.evolve(initial=initial, situation=situation, risk=risk[0] if risk else None))
    opened, stance = await caller.both(opening.opening(scene), opening.stance(scene))
    yield (scene := opening.enter(scene, opened).evolve(stance=opening.stance_of(scene, stance)))

    move = roles.planned_move(scene, step=1)
    may_retry = True  # once in a scene; the second refusal stops the plan
    ending = None
    while not ending:
        verdict = await caller.ask(modulator.judge(scene, move))
        yield (scene := modulator.rule(scene, [move], [verdict]))
        if not verdict.feasible and may_retry:
            may_retry = False
            move = roles.instead(scene, await caller.ask(roles.retry(scene)))
            continue

        act = scene.events[-1]
        observers = modulator.awaited(act)  # nobody, if the act was refused
        replies = await caller.all([roles.react(scene, name, act) for name in observers])
        reactions = roles.moves([act] * len(observers), observers, replies)
        verdicts = await caller.all([modulator.judge(scene, reaction) for reaction in reactions])
        scene = modulator.rule(scene, reactions, verdicts)
        if reactions:
            yield scene

        if not (ending := modulator.ending(scene, act)):
            news = roles.observed_since(scene, act)
            choice = await caller.ask(roles.next_step(scene, news)) if news else None
            move = roles.next_move(scene, news, choice)

    if "last-turns" not in settings.without and (waiting := modulator.unheard(scene, ending)):
        replies = await caller.all([roles.react(scene, name, event) for name, event in waiting.items()])
        last = roles.moves(waiting.values(), list(waiting), replies)
        verdicts = await caller.all([modulator.judge(scene, move) for move in last])
        yield (scene := modulator.rule(scene, last, verdicts))
        ending = modulator.last_word(scene, len(last), ending)

    yield (scene := scene.evolve(ending=ending))
    yield (scene := scene.evolve(aftermath=await caller.ask(aftermath(scene))))
    if not scene.asks_for_change and "gate" not in settings.without:
        scene = scene.evolve(critique=Critique(points=()))
    else:
        scene = scene.evolve(critique=await caller.ask(critique(scene)))
    yield scene
    if not scene.critique or not scene.critique.points:  # nothing to change, so the answer stays as it is
        yield scene.evolve(revised=scene.initial)
    else:
        revised = await caller.ask(revise(scene))
        yield scene.evolve(revised=revised.root)
