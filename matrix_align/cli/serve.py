"""serve: the gateway and the pages, until it is stopped."""

import asyncio
from collections.abc import Callable
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from socket import gethostname
from typing import Annotated, Any
from urllib.parse import quote

import typer

from ..errors import InputError
from ..llm.builtin import BUILTIN, DEFAULT
from .options import (
    FOLDER,
    Adapter,
    AnswerTokens,
    DetailOf,
    Digest,
    Memory,
    ModelName,
    Roles,
    Seed,
    Steps,
    StorePath,
    Temperature,
    setup_of,
)


class Simulate(StrEnum):
    always = "always"
    auto = "auto"
    never = "never"


def serve(
    endpoint: Annotated[str | None, typer.Option(help="URL of an OpenAI-compatible server.")] = None,
    model: ModelName = None,
    digest: Digest = None,
    adapter: Adapter = None,
    host: Annotated[str, typer.Option(help="Address to listen on. Beyond this machine it needs --key.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0 takes a free one.", min=0, max=65535)] = 8321,
    key: Annotated[
        list[str] | None,
        typer.Option(
            help="Key that clients must send. Can be given several times; better set MATRIX_ALIGN_SERVE_KEYS, "
            "with spaces between them, since other users of the machine can read a command line.",
            envvar="MATRIX_ALIGN_SERVE_KEYS",
            show_envvar=False,
        ),
    ] = None,
    rating: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="DIR",
            help="Folder that `rate new` made, whose page is /rate/DIR. Prints each rater's link. Can be given "
            "several times. No model is served then, unless --endpoint, --model or --adapter names one.",
            **FOLDER,
        ),
    ] = None,
    simulate: Annotated[
        Simulate, typer.Option(help="auto: one cheap call first lets plainly harmless questions through.")
    ] = Simulate.always,
    roles: Roles = 5,
    steps: Steps = 5,
    detail: DetailOf = None,
    seed: Seed = 0,
    temperature: Temperature = None,
    answer_tokens: AnswerTokens = None,
    memory: Memory = None,
    scenes: Annotated[int, typer.Option(help="Answers of methods that are made at once; others wait.", min=1)] = 8,
    drain: Annotated[int, typer.Option(help="Seconds that what is in flight has after SIGTERM.", min=0)] = 60,
    store: StorePath = None,
) -> None:
    """Serve an OpenAI-compatible gateway in front of a model. Model `matrix` plays a scene before it answers.

    Without --endpoint the embedded model is served. A request can name other settings. The upstream's key comes from
    MATRIX_ALIGN_API_KEY or OPENAI_API_KEY.
    """
    keys = tuple(filter(None, (each.strip() for each in key or ())))
    ratings = rating or []
    pages_only = bool(ratings) and not (endpoint or model or adapter)
    if not keys and not _is_local(host) and not pages_only:
        raise InputError(f"--host {host} can be reached from other machines, so clients need a key: give --key")
    _there(ratings)
    if pages_only:
        asyncio.run(_serve_ratings(ratings, host, port, keys, drain))
        return
    made = setup_of(
        endpoint, model, seed, temperature, answer_tokens, roles=roles, steps=steps, detail=detail, memory=memory
    )
    defaults = {**made.flat(), "simulate": simulate.value}
    asyncio.run(_serve(endpoint, model, digest, adapter, host, port, keys, defaults, scenes, drain, store, ratings))


async def _serve(
    endpoint: str | None,
    model: str | None,
    digest: str | None,
    adapter: Path | None,
    host: str,
    port: int,
    keys: tuple[str, ...],
    defaults: dict[str, Any],
    scenes: int,
    drain: int,
    store: Path | None,
    ratings: list[Path],
) -> None:
    try:
        from ..web.app import app
        from ..web.beside import Beside
        from ..web.server import leads_to, listen, server_of
    except ModuleNotFoundError as error:
        raise InputError(f"serve needs {error.name}: pip install 'matrix-align[serve]'") from None
    from ..llm.dialect import log
    from ..llm.open import open_model
    from ..store import Store, default_path
    from ..web.gateway import Gateway, Limits
    from ..web.guard import Access
    from ..web.logs import log_as_json

    log_as_json()
    with listen(host, port) as listener, Store(store or default_path()) as record:
        if endpoint and leads_to(endpoint, listener):
            raise InputError(f"--endpoint {endpoint} is this server itself; give the address of the model's server")
        record.recall_overflows()  # so that a scene that is played on makes the calls that followed them
        async with open_model(endpoint, model, adapter, digest) as upstream:
            access = Access(keys, _is_local(host), upstream.id)
            ours = None if endpoint else BUILTIN.get((model or DEFAULT).lower())
            gateway = Gateway(upstream, record, Limits(scenes=scenes), defaults, ours.name if ours else "")
            beside = Beside()
            served = app(gateway, access, ratings, beside)
            site = _site(host, listener.getsockname()[1])
            log.info("%s is served at %s/v1", upstream.name, site)
            log.info("its scenes are shown at %s/", site)
            _print_links(ratings, site, lambda line: log.info("%s", line))
            await server_of(served, drain, beside).serve(sockets=[listener])


async def _serve_ratings(ratings: list[Path], host: str, port: int, keys: tuple[str, ...], drain: int) -> None:
    """The pages alone. They need no key, since each rater has a secret link; with one, a proxy can have any name."""
    try:
        from ..web.app import app
        from ..web.guard import Access
        from ..web.server import listen, server_of
    except ModuleNotFoundError as error:
        raise InputError(f"serve needs {error.name}: pip install 'matrix-align[serve]'") from None

    pages = app(None, Access(keys, _is_local(host)), ratings)
    with listen(host, port) as listener:
        site = _site(host, listener.getsockname()[1])
        _print_links(ratings, site, lambda line: typer.echo(f"matrix-align: {line}", err=True))
        await server_of(pages, drain).serve(sockets=[listener])


def _there(ratings: list[Path]) -> None:
    """Raises InputError for a folder that holds no rating, before a model is loaded."""
    from ..evals.rating.folder import described

    for folder in ratings:
        described(folder)


def _site(host: str, port: int) -> str:
    """The address of the server, with this machine's name if it listens on all its addresses."""
    name = gethostname() if host in ("0.0.0.0", "::") else f"[{host}]" if ":" in host else host
    return f"http://{name}:{port}"


def _print_links(ratings: list[Path], site: str, say: Callable[[str], None]) -> None:
    """Prints the whole link of every rater.

    The links go to standard output, so that no log gets a secret; `say` tells whoever reads the log where each page is.
    """
    from ..evals.rating.folder import RATINGS
    from ..evals.rating.store import Ratings

    for folder in ratings:
        page = f"{site}/rate/{quote(folder.resolve().name, safe='')}"
        say(f"{folder} is rated at {page}")
        with Ratings(folder / RATINGS, read_only=True) as opened:
            for rater in opened.raters():
                typer.echo(f"{rater.name}: {page}/{rater.link}")


def _is_local(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
