"""Takes a secret out of bytes that come in pieces. Knows no connection."""

from __future__ import annotations


class Masked:
    """Puts stars in place of `secret`, as many as it has bytes, so that lengths stay the same.

    The end of a piece that may be the beginning of the secret is held back until the next one. The secret is known with
    JSON's `\\/` for a slash too.
    """

    def __init__(self, secret: str | None) -> None:
        plain = (secret or "").encode()
        self._forms = {form for form in (plain, plain.replace(b"/", b"\\/")) if form}
        self._held = b""

    def whole(self, data: bytes) -> bytes:
        """`data`, of which no more comes, without the secret."""
        for form in self._forms:
            data = data.replace(form, b"*" * len(form))
        return data

    def piece(self, data: bytes) -> bytes:
        """What can be sent once `data` has come."""
        if not self._forms:
            return data
        data = self.whole(self._held + data)
        end = min(_end(data, form) for form in self._forms)
        self._held = data[end:]
        return data[:end]

    def rest(self) -> bytes:
        """What was held back when the last piece came. It is not the whole secret."""
        return self._held


def _end(data: bytes, secret: bytes) -> int:
    """Where the end of `data` begins that `secret` may begin with; its length if there is none."""
    place = data.find(secret[:1], max(0, len(data) - len(secret) + 1))
    while place >= 0 and not secret.startswith(data[place:]):
        place = data.find(secret[:1], place + 1)
    return place if place >= 0 else len(data)
