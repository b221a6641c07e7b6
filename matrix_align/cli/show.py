"""Prints a scene in a terminal, while it is played or later from the record.

Owns the layout, which is readable at 80 columns. Prints a model's text as it is, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.rule import Rule
from rich.table import Table
from rich.text import Text

from ..simulation.types import Aftermath, Event, Scene, Situation
from ..store import Summary
from ..types import Answer, Question, counted, shorten

QUOTED = 120  # characters of the answer that are quoted
SIDE_BY_SIDE = 110  # columns; on wider terminals the two responses stand side by side


class Stage:
    """Prints a growing scene, each time only what is new."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._shown = 0

    def begin(self, question: Question) -> None:
        """Prints the question at once. The first calls may take a while."""
        self._console.print(_question(question))
        self._shown = 1

    def show(self, answer: Answer) -> None:
        parts = list(_parts(answer, self._console.width))
        for part in parts[self._shown :]:
            self._console.print(part)
        self._shown = len(parts)

    def figures(self, answer: Answer, seconds: float | None = None) -> None:
        """Prints the line of figures. `seconds` is the time the answer took, if it was made just now."""
        usage = answer.usage
        recorded = sum(call.recorded for call in answer.calls)
        words = [
            counted(len(answer.calls), "call") + (f" ({recorded} from the record)" if recorded else ""),
            f"depth {answer.depth}",
            f"tokens: {usage.prompt_tokens:,} prompt ({usage.cached_tokens:,} cached), "
            f"{usage.completion_tokens:,} generated",
            f"{seconds:.1f} s" if seconds is not None else f"{usage.seconds:.1f} s of model time",
            f"scene {answer.id}" if answer.scene else f"answer {answer.id}",
        ]
        self._console.print(Text(" · ".join(words), "dim"))


def _parts(answer: Answer, width: int) -> Iterator[RenderableType]:
    """An answer's parts in the order they are made. A grown answer begins with the same parts."""
    yield _question(answer.question)
    if answer.initial is not None:
        yield _indented(
            Text.assemble(("Initial response  ", "bold"), shorten(answer.initial, 60), ("  (whole below)", "dim"))
        )
    if answer.scene:
        yield from _scene_parts(Scene.of(answer))
    if answer.error:
        yield Panel(Text(answer.error), title="Failed", title_align="left", border_style="red")
    if answer.text is not None or answer.error:
        yield _responses(answer, width)


def _question(question: Question) -> Panel:
    return Panel(Text(question.text), title="Question", title_align="left", border_style="bold")


def _scene_parts(scene: Scene) -> Iterator[RenderableType]:
    if situation := scene.situation:
        yield Rule("Scene", align="left", style="cyan")
        yield _indented(Text(situation.setting, "italic"))
        ego = Text.assemble((situation.ego, "bold cyan"), "  ", situation.asks)
        if isinstance(situation, Situation):
            ego += Text.assemble(f" {situation.who.rstrip('.')}. {situation.motive.rstrip('.')}. ", ("Goal: ", "dim"))
            ego += Text(situation.goal)
        yield _indented(ego)
    if scene.cast and scene.plan:
        for role in scene.cast.roles:
            yield _indented(
                Text.assemble((role.name, "bold cyan"), (f"  {role.kind}. ", "dim"), role.traits)
                + Text.assemble((" Duty: ", "dim"), role.duty, (" Stake: ", "dim"), role.stake)
            )
        steps = "\n".join(f"{number}. {step.when}: {step.act}" for number, step in enumerate(scene.plan.steps, start=1))
        yield _indented(Text.assemble(("Plan\n", "bold"), steps))
        if scene.stance:
            hurts = f": {scene.stance.hurts}" if scene.stance.hurts else ""
            yield _indented(Text.assemble(("At first sight ", "bold"), f"the answer {scene.stance.answer}{hurts}"))
        yield Rule("What happens", align="left", style="cyan")
    for event in scene.events:
        yield _event(event)
    if scene.ending:
        yield _indented(Text.assemble(("The end: ", "bold"), scene.ending.how, ". ", scene.ending.why))
    if scene.aftermath:
        yield from _aftermath(scene.aftermath)
    if scene.critique:
        yield Rule("Critique", align="left", style="magenta")
        for point in scene.critique.points:
            incidents = "".join(f"[{number}]" for number in point.incidents)
            words = shorten(scene.quoted(point.quotes), QUOTED)
            yield _indented(
                Text.assemble(
                    (f"{incidents} " if incidents else "", "bold"),
                    (f"“{words}” " if words else "", "italic"),
                    point.problem,
                )
                + Text.assemble(("  Better: ", "dim"), point.change)
            )
        if not scene.critique.points:
            yield _indented(Text("Nothing to change: the initial response stands.", "dim"))


def _aftermath(aftermath: Aftermath) -> Iterator[RenderableType]:
    """What came of the answer: for whom, what harm, and what caused it."""
    yield Rule("Weeks later", align="left", style="magenta")
    yield _indented(Text(aftermath.consequences))
    for fate in aftermath.fates:
        line = Text.assemble((fate.who, "bold cyan"), f"  {fate.later}")
        if fate.harm != "none":
            line.append(f"  harm: {fate.harm}, by {fate.cause}", "red")
        yield _indented(line)
    yield _indented(Text.assemble(("Found out: ", "dim"), aftermath.found_out))
    if aftermath.missing:
        yield _indented(Text.assemble(("Missing in the answer: ", "dim"), aftermath.missing))


def _indented(text: Text) -> Padding:
    return Padding(text, (0, 1, 0, 1))


def _event(event: Event) -> RenderableType:
    """One event: who acts, what the modulator rules, who sees it, and what harm it does."""
    verdict = event.verdict
    head = Text.assemble((f"[{event.number}] ", "bold"), (event.actor, "bold cyan"), (f"  step {event.step}", "dim"))
    if event.when:
        head.append(f"  {event.when}", "dim")
    if event.because:
        head.append("  because of " + ", ".join(f"[{number}]" for number in event.because), "dim")
    lines = [Text(event.action)]
    if event.words:
        lines.append(Text(f"“{shorten(event.words, QUOTED)}”", "italic"))
    if verdict.feasible:
        lines.append(Text.assemble(("✓ ", "green"), verdict.outcome))
        lines.append(Text.assemble(("seen by ", "dim"), ", ".join(verdict.observers) or "nobody"))
    else:
        lines.append(Text.assemble(("✗ can't be done: ", "yellow"), verdict.outcome))
    if verdict.harm:
        lines.append(Text.assemble(("harm ", "bold red"), (verdict.harm, "red")))
    return Group(_indented(head), *(Padding(line, (0, 1, 0, 5)) for line in lines))


CUT = {"": "", "length": " (cut at --answer-tokens)", "filter": " (cut by the server's content filter)"}


def _responses(answer: Answer, width: int) -> RenderableType:
    panels = []
    stands = answer.text is not None and answer.text == answer.initial
    if answer.initial is not None:
        title = f"Initial response{', which stands' if stands else ''}{CUT[answer.initial_cut]}"
        panels.append(Panel(Text(answer.initial), title=title, title_align="left", border_style="yellow"))
    if answer.text is not None and not stands:
        title = f"{'Answer' if answer.initial is None else 'Revised response'}{CUT[answer.text_cut]}"
        panels.append(Panel(Text(answer.text), title=title, title_align="left", border_style="green"))
    if len(panels) < 2:
        return Group(*panels)
    columns = 2 if width >= SIDE_BY_SIDE else 1
    grid = Table.grid(expand=True)
    for _ in range(columns):
        grid.add_column(ratio=1)
    if columns == 2:
        grid.add_row(*panels)
    else:
        for panel in panels:
            grid.add_row(panel)
    return grid


def table(rows: Sequence[Summary]) -> None:
    """The list of scenes."""
    console = Console(highlight=False)
    if not rows:
        console.print("No scenes yet; `matrix-align simulate QUESTION` plays one.")
        return
    listed = Table(box=None, pad_edge=False, expand=True)
    listed.add_column("id", no_wrap=True)
    listed.add_column("played (UTC)", no_wrap=True)
    listed.add_column("state", no_wrap=True)
    listed.add_column("calls", justify="right")
    listed.add_column("question", ratio=1, no_wrap=True)
    for row in rows:
        when = row.at[:16].replace("T", " ")
        listed.add_row(
            row.id, when, row.state, str(row.calls), Text(" ".join(row.question.split()), overflow="ellipsis")
        )
    console.print(listed)
