"""An app over real HTTP, on a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from starlette.types import ASGIApp

from matrix_align.web.server import listen, server_of


@contextmanager
def served_at(app: ASGIApp) -> Iterator[str]:
    """The address of the app, until the block ends."""
    listener = listen("127.0.0.1", 0)
    server = server_of(app, drain=1)
    thread = threading.Thread(target=lambda: asyncio.run(server.serve(sockets=[listener])), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(60)
        listener.close()
    assert not thread.is_alive()
