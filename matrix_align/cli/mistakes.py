"""A mistake on the command line, in one line: what was got, what was wanted, what to do.

Owns the words for what Typer and pydantic refuse. Knows no command.
"""

from __future__ import annotations

import difflib
import re
from typing import TYPE_CHECKING, Any

from typer import BadParameter

if TYPE_CHECKING:
    from typer.exceptions import TyperException

# Typer's own words, where its errors hold the details nowhere else.
EXTRA = re.compile(r"Got unexpected extra argument\(s\) \((.*)\)", re.S)
NO_COMMAND = re.compile(r"No such command '(.*)'\.", re.S)
NO_VALUE = re.compile(r"Option '(.*)' requires an argument\.")
BAD_PATH = re.compile(r"\w+ (['\"])(.*)\1 (.*)\.", re.S)

PATHS = {
    "does not exist": "there is no such file or folder",
    "is a file": "that is a file; wanted a folder",
    "is a directory": "that is a folder; wanted a file",
    "is not readable": "it can't be read; change its permissions, or give another",
    "is not writable": "it can't be written; change its permissions, or give another",
}


def number(kind: type, low: float | None, high: float | None) -> str:
    """What an option takes, such as 'a whole number from 1 to 20'. `low` and `high` are the bounds, if it has them."""
    name = "a whole number" if kind is int else "a number"
    if low is not None and high is not None:
        return f"{name} from {low:,} to {high:,}"
    if low is not None:
        return f"{name} of at least {low:,}"
    return name if high is None else f"{name} of at most {high:,}"


def explained(error: TyperException) -> str:
    """The mistake that Typer found."""
    message = error.format_message()
    if isinstance(error, BadParameter) and error.param:
        return _parameter(error, error.param)
    context = getattr(error, "ctx", None)
    command = _command(context)
    if name := getattr(error, "option_name", ""):
        if NO_VALUE.fullmatch(error.message):
            return f"{name} needs a value after it"
        options = [option for parameter in context.command.params for option in parameter.opts] if context else []
        near = difflib.get_close_matches(name, options, 1)
        return f"{command} has no option {name}; {f'did you mean {near[0]}?' if near else '--help lists its options'}"
    if found := EXTRA.fullmatch(message):
        advice = "put the whole question in quotes" if command == "simulate" else "--help says what it takes"
        return f"{command} takes no further argument (got {found[1]!r}); {advice}"
    if context and (found := NO_COMMAND.fullmatch(message)):
        if command == "scenes":
            return f"scenes has no command {found[1]!r}; to print a scene: matrix-align scenes show {found[1]}"
        return f"there is no command {found[1]!r}; wanted one of {', '.join(context.command.commands)}"
    return message


def _command(context: Any) -> str:
    """The command as it was typed, such as 'scenes show'; the program's name where there is none."""
    names: list[str] = []
    while context and context.parent:
        names.insert(0, context.info_name)
        context = context.parent
    return " ".join(names) or "matrix-align"


def _parameter(error: BadParameter, parameter: Any) -> str:
    """What is wrong with one option or argument."""
    name = parameter.opts[0] if parameter.opts[0].startswith("-") else parameter.display_name_raw.upper()
    if hasattr(error, "param_type"):  # it is missing
        what = (parameter.help or "").split(". ")[0].removesuffix(".")
        article = "" if what.startswith("A ") else "the "
        return f"{name} is missing; give {article}{what[:1].lower()}{what[1:]}"
    if found := BAD_PATH.fullmatch(error.message):
        return f"{name} {found[2]}: {PATHS.get(found[3], found[3])}"
    got = ""
    if failures := getattr(error.__cause__, "errors", None):  # pydantic's
        got = f" (got {failures()[0]['input']})"
    kind = parameter.type_descriptor
    if kind.choices:
        *others, last = [choice.value for choice in kind.choices]
        return f"{name} is {', '.join(others)} or {last}{got}"
    if kind.annotation in (int, float):
        return f"{name} is {number(kind.annotation, kind.parameter_info.min, kind.parameter_info.max)}{got}"
    return f"{name}: {error.message}{got}"
