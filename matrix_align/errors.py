"""Every error that this package raises on purpose, one class for each place it comes from.

    MatrixAlignError
    ├── InputError            a question, an option or a file that can't be used
    ├── ModelError            one call to a model failed; recorded, then raised
    │   ├── Unreachable       no server answers there, or not in time
    │   ├── Refused           the server rejects the request, in its own words (400, 401, 403, 404, …)
    │   │   ├── ContextOverflow   the prompt is longer than the model can read
    │   │   └── QuotaExceeded     the account behind the key has nothing left to spend
    │   ├── Overloaded        429, 5xx and similar, after every retry
    │   └── BadReply          the model's replies do not have the form that was asked for
    ├── ClusterError          Ray can't be started or reached, or it broke
    ├── EmbeddedError         weights can't be fetched, or the local server does not start
    └── StoreError            the record can't be opened, read or written

A message is one line: what was got, what was wanted, what to do next. `exit_code` is the exit status of the command
line: 2 if the user can fix the cause (an address, a key, a file), 1 if the model or its server failed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:  # the command line imports this module for its help
    from .types import Usage


class MatrixAlignError(Exception):
    """The base of all errors of this package. It is never raised itself."""

    exit_code = 2


class InputError(MatrixAlignError):
    """A question, option or file of the user's can't be used."""


class ModelError(MatrixAlignError):
    """One call to a model failed for good. `reply` holds what the model said, if anything, `usage` what it cost."""

    def __init__(self, message: str, reply: str = "") -> None:
        super().__init__(message)
        self.reply = reply
        self.usage: Usage | None = None


class Unreachable(ModelError):
    """No connection, a dropped one, a time-out, or an answer that is not JSON, after every retry.

    `how` is "silent" after a time-out, "no JSON" if something else answered, and empty otherwise.
    """

    def __init__(self, message: str, how: Literal["", "silent", "no JSON"] = "") -> None:
        super().__init__(message)
        self.how = how


class Refused(ModelError):
    """The server rejected the request, and the same request would be rejected again.

    `words` are the server's own, and `status` is HTTP's. `about` names the parts of the request that it rejects, as far
    as its words tell: max_tokens, temperature, seed, schema, system (role), turns. `mendable` is True if the content of
    the request was rejected, so that another request may be accepted.
    """

    def __init__(self, message: str, status: int = 400, words: str = "", about: frozenset[str] = frozenset()) -> None:
        super().__init__(message)
        self.status = status
        self.words = words
        self.about = about
        self.mendable = status in (400, 413, 422, 500)


class ContextOverflow(Refused):
    """The prompt does not fit the model's context. A shorter one may."""

    def __init__(self, message: str, status: int = 400, words: str = "") -> None:
        super().__init__(message, status, words)
        self.mendable = True


class QuotaExceeded(Refused):
    """The account behind the key has nothing left to spend. No request will be answered."""

    def __init__(self, message: str, status: int = 429, words: str = "") -> None:
        super().__init__(message, status, words)
        self.mendable = False


class Overloaded(ModelError):
    """The server answered every attempt with 408, 409, 425, 429 or a 5xx. A later attempt may succeed.

    `status` is the last status. `wait` is the number of seconds that the server asks clients to wait.
    """

    exit_code = 1

    def __init__(self, message: str, status: int = 503, wait: float = 0.0) -> None:
        super().__init__(message)
        self.status = status
        self.wait = wait


class BadReply(ModelError):
    """No attempt gave a reply of the wanted form."""

    exit_code = 1


class ClusterError(MatrixAlignError):
    """The Ray cluster can't be reached or started, or a run on it broke."""


class EmbeddedError(MatrixAlignError):
    """Weights can't be fetched or kept, or the local server does not start."""


class StoreError(MatrixAlignError):
    """The SQLite record can't be opened, read or written."""
