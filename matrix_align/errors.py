"""Every error this package raises on purpose, one class per boundary it comes from.

    MatrixAlignError
    ├── InputError            what the person gave: a question, an option, a file
    ├── ModelError            one call to a model failed; recorded, then raised
    │   ├── Unreachable       nobody answers there, or not in time
    │   ├── Refused           the server says no, in its own words (400, 401, 403, 404, …)
    │   │   ├── ContextOverflow   the prompt is longer than the model can read
    │   │   └── QuotaExceeded     the account behind the key has nothing left to spend
    │   ├── Overloaded        429, 5xx and their like, again and again
    │   └── BadReply          the model's reply is not what was asked for, again and again
    ├── ClusterError          Ray can't be had, or broke
    ├── EmbeddedError         the bundled weights or the local server can't be had
    └── StoreError            the record can't be opened, read or written

A message is one line: what was got, what was wanted, what to do next. `exit_code` is what the command line exits
with: 2 where the person can mend it (an address, a key, a file), 1 where the model or its server failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the command line imports this module for its help
    from .types import Usage


class MatrixAlignError(Exception):
    """Base of the tree; never raised itself."""

    exit_code = 2


class InputError(MatrixAlignError):
    """A question, option or file of the person's can't be used."""


class ModelError(MatrixAlignError):
    """One call to a model failed for good. `reply` holds what the model said, if anything, `usage` what that took."""

    def __init__(self, message: str, reply: str = "") -> None:
        super().__init__(message)
        self.reply = reply
        self.usage: Usage | None = None


class Unreachable(ModelError):
    """No connection, a dropped one, a time-out, or something there that speaks no JSON, after every retry.

    `how`: "silent" where it was a time-out, "no JSON" where something did answer; otherwise empty.
    """

    def __init__(self, message: str, how: Literal["", "silent", "no JSON"] = "") -> None:
        super().__init__(message)
        self.how = how


class Refused(ModelError):
    """The server refused the request; asking again would not help. `words` are its own, `status` is HTTP's.

    `about` names the parts of the request that it says no to, as far as its words tell: max_tokens, temperature, seed,
    schema, system (role), turns. `mendable`: it was about what the request said, so that another one may be taken.
    """

    def __init__(self, message: str, status: int = 400, words: str = "", about: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.status = status
        self.words = words
        self.about = about
        self.mendable = status in (400, 413, 422, 500)


class ContextOverflow(Refused):
    """The prompt does not fit the model's context; a shorter one may."""

    def __init__(self, message: str, status: int = 400, words: str = "") -> None:
        super().__init__(message, status, words)
        self.mendable = True


class QuotaExceeded(Refused):
    """The account behind the key has nothing left to spend; nothing that is asked will be answered."""

    def __init__(self, message: str, status: int = 429, words: str = "") -> None:
        super().__init__(message, status, words)
        self.mendable = False


class Overloaded(ModelError):
    """The server answered 408, 409, 425, 429 or a 5xx, which may pass, to every attempt. `status` is the last one.

    `wait`: seconds that the server asks to be left alone.
    """

    exit_code = 1

    def __init__(self, message: str, status: int = 503, wait: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait


class BadReply(ModelError):
    """No attempt brought a reply of the asked form."""

    exit_code = 1


class ClusterError(MatrixAlignError):
    """The Ray cluster can't be reached or started, or a run on it broke."""


class EmbeddedError(MatrixAlignError):
    """The bundled weights can't be fetched or read, or the local server does not start."""


class StoreError(MatrixAlignError):
    """The SQLite record can't be opened, read or written."""
