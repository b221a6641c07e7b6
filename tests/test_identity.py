"""Which model a server serves: names in every form of list, and what distinguishes weights of the same name."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from matrix_align import Recorded, Store
from matrix_align.errors import InputError, Overloaded, Unreachable
from matrix_align.llm import endpoint
from matrix_align.llm.endpoint import Endpoint
from matrix_align.llm.identity import digest_of, entries, known_by

from .asking import Waits, answering, http, say
from .conftest import HANG, complaint
from .conftest import Run as Cli
from .fake import FakeServer, drop, error
from .records import rows

TWO = {"data": [{"id": "small"}, {"id": "large"}]}
NO_NAMES: list[Any] = [[], None, 5, "ab", [5], [{}], [{"id": 5}]]
NONE: list[Any] = [*({"data": each} for each in NO_NAMES), [], {}, 5, None]
NAMED: list[Any] = [
    [{"id": "m"}],
    ["m"],
    {"data": ["m"]},
    {"data": [{"name": "m"}]},
    {"object": "list", "data": [{"id": "m", "object": "model"}]},
    {"models": ["m"]},
    {"models": [{"name": "m", "model": "m"}]},
    {"models": [{"model": "m"}]},
    {"models": [{"name": "m", "digest": ""}], "data": [{"id": "m", "meta": {"size": 1}}]},
]


@pytest.mark.parametrize(("listed", "told"), [(TWO, "small, large"), *((each, "none") for each in NONE)])
async def test_name_must_be_given_otherwise(listed: Any, told: str) -> None:
    async with answering(http(json.dumps(listed))) as url:
        with pytest.raises(InputError, match=f"--model.*{told}"):
            async with Endpoint(url, attempts=1):
                pass


@pytest.mark.parametrize("listed", NAMED)
async def test_name_in_every_form_of_list(server: FakeServer, listed: Any) -> None:
    server.listed = listed
    async with Endpoint(server.url, attempts=1) as model:
        assert model.name == "m"


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["data", "models", "id", "name", "model", "root", "created"]), inner, max_size=4
        )
    ),
)


@given(ANYTHING)
def test_list_of_any_form_is_read(body: Any) -> None:
    models = entries(body)
    assert all(isinstance(name, str) and name for name in models)
    for name in models:
        assert digest_of(known_by(models, name, None)).startswith(("listed:", ""))


async def digest(server: FakeServer, entry: Any, name: str | None = "m") -> str:
    """The digest for a server that lists these fields for its model `m`."""
    server.listed = {"data": [{"id": "other", "root": "/other"}, {"id": "m", "object": "model", **entry}]}
    async with Endpoint(server.url, name, attempts=1) as model:
        assert bool(model.digest) == bool(model.identified_by)
        return model.digest


LLAMA_CPP = {"owned_by": "llamacpp", "meta": {"n_params": 134515008, "size": 98000000, "n_vocab": 49152}}
VLLM = {"owned_by": "vllm", "root": "/models/base", "max_model_len": 4096}
OLLAMA = {"owned_by": "library", "created": 1686935002}
OTHERS = [
    (VLLM, {**VLLM, "root": "/models/tuned"}),
    (LLAMA_CPP, {**LLAMA_CPP, "meta": {**LLAMA_CPP["meta"], "size": 98000001}}),  # type: ignore[dict-item]
    (OLLAMA, {**OLLAMA, "created": 1700000000}),
    ({"digest": "sha256:1"}, {"digest": "sha256:2"}),
    ({}, {"digest": "sha256:2"}),
]


@pytest.mark.parametrize(("one", "other"), OTHERS)
async def test_other_weights_have_another_digest(server: FakeServer, one: Any, other: Any) -> None:
    assert await digest(server, one) == await digest(server, one) != await digest(server, other)


async def test_order_of_fields_is_no_difference(server: FakeServer) -> None:
    assert await digest(server, VLLM) == await digest(server, dict(reversed(VLLM.items())))


SAME = [
    {"created": "now"},  # vLLM, SGLang and llama.cpp say when they were asked
    {"permission": [{"id": "modelperm-0a1b", "created": 1}]},  # vLLM draws a new one each time
    {"object": "another"},
    {"state": "loaded"},
    {"max_model_len": 8192},  # a longer context for the same weights: a run goes on after an overflow
]


@pytest.mark.parametrize("beside", SAME)
async def test_what_does_not_identify_weights_is_left_out(server: FakeServer, beside: Any) -> None:
    for entry in ({}, {"owned_by": "x"}, VLLM):
        now = {"created": int(time.time())} if beside == {"created": "now"} else beside
        assert await digest(server, entry) == await digest(server, {**entry, **now})


async def test_time_of_a_start_is_left_out_where_more_is_known(server: FakeServer) -> None:
    """Some servers list when they started. After a restart with the same weights, they are the same model."""
    started = {**VLLM, "created": 1700000000}
    assert await digest(server, started) == await digest(server, {**VLLM, "created": 1700009999})


async def test_clock_of_the_server_is_asked_not_only_ours(server: FakeServer) -> None:
    """The time is recognised as the answer's own even if the server's clock is an hour off."""
    digests = []
    for behind in (3600, 3500):
        then = time.time() - behind
        listed = json.dumps({"data": [{"id": "m", "owned_by": "vllm", "created": int(then)}]})
        answer = http(listed, header=f"Date: {formatdate(then, usegmt=True)}")
        async with answering(answer) as url, Endpoint(url, "m", attempts=1) as model:
            digests.append(model.digest)
    assert digests[0] == digests[1]


async def test_tag_of_ollama_may_be_left_out(server: FakeServer) -> None:
    server.listed = {"data": [{"id": "llama3:latest", "owned_by": "library", "created": 1700000000}]}
    async with Endpoint(server.url, "llama3", attempts=1) as short, Endpoint(server.url, attempts=1) as full:
        assert short.digest == full.digest != ""


@pytest.mark.parametrize("given", ["sha256:mine", ""])
async def test_digest_that_is_given_is_taken_and_nothing_asked(server: FakeServer, given: str) -> None:
    server.listed = error(500, "nobody asks for this")
    async with Endpoint(server.url, "m", digest=given, attempts=1) as model:
        assert (model.digest, model.identified_by) == (given, ())


NO_LIST = [
    error(404, "no such path"),
    error(403, "not with this key"),
    error(405, "POST only"),
    error(501, "not implemented"),
    web.Response(text="<html>a page for everything"),
    web.json_response({"detail": "Not Found"}),
    web.json_response([1, 2]),
]


@pytest.mark.parametrize("number", range(len(NO_LIST)))
async def test_server_without_a_list_is_taken_as_it_is_named(server: FakeServer, waits: Waits, number: int) -> None:
    server.listed = NO_LIST[number]
    async with Endpoint(server.url, "m", attempts=1) as model:
        assert model.digest == ""
        assert await say(model)


@pytest.mark.parametrize(("listed", "kind"), [(503, Overloaded), (429, Overloaded)])
async def test_server_that_is_away_is_not_one_without_a_list(server: FakeServer, listed: int, kind: Any) -> None:
    """Otherwise its model would count as another one than yesterday."""
    server.listed = error(listed, "starting")
    with pytest.raises(kind, match="starting"):
        async with Endpoint(server.url, "m", attempts=1):
            pass
    with pytest.raises(Unreachable):
        async with Endpoint("http://127.0.0.1:1/v1", "m", attempts=1):
            pass


async def test_server_that_hangs_is_not_waited_for_as_a_model_is(waits: Waits, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reply may take ten minutes. A user who mistyped the address should hear of it sooner."""
    monkeypatch.setattr(endpoint, "LIST", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(Unreachable, match=r"within 0\.2 s"):
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/v1"
        async with asyncio.timeout(HANG), Endpoint(address, read=2 * HANG):
            pass


async def test_record_tells_weights_of_one_name_apart(server: FakeServer, tmp_path: Path) -> None:
    """After a restart with other weights, the old answers are not used for the new weights."""
    answers = []
    with Store(tmp_path / "record.db") as store:
        for root, text in (("/base", "Blue."), ("/tuned", "Red."), ("/base", "Never asked.")):
            server.listed = {"data": [{"id": "m", "root": root, "created": int(time.time())}]}
            server.on["text"] = lambda _, text=text: text  # type: ignore[misc]
            async with Endpoint(server.url, "m", attempts=1) as model:
                answers.append(await say(Recorded(model, store)))
    assert answers == ["Blue.", "Red.", "Blue."]


BASE, TUNED = ({"data": [{"id": "m", "root": root}]} for root in ("/base", "/tuned"))


def comes_back_as(server: FakeServer, listed: Any, broken: Any) -> Any:
    """A fault: the server breaks, and from then on its list shows `listed`."""

    def fault(request: web.Request) -> Any:
        server.listed = listed
        return broken(request)

    return fault


@pytest.mark.parametrize("broken", [drop, lambda _: error(503, "loading")])
async def test_server_that_comes_back_with_other_weights(server: FakeServer, waits: Waits, broken: Any) -> None:
    server.listed = BASE
    async with Endpoint(server.url, "m", attempts=3) as model:
        for listed in (BASE, error(404, "no list"), {"data": [{"id": "m"}]}):
            server.faults = [comes_back_as(server, listed, broken)]
            assert await say(model), "the same weights, or nothing to tell them by"
        server.faults = [comes_back_as(server, TUNED, broken)]
        for _ in range(2):
            with pytest.raises(InputError, match="has come back with other weights under the name m"):
                await say(model)
    async with Endpoint(server.url, "m", digest="mine", attempts=3) as model:
        server.faults = [comes_back_as(server, BASE, broken)]
        assert await say(model), "who gives a digest answers for it"


def test_names_that_are_no_text(simulate: Cli, server: FakeServer) -> None:
    """Bytes of a command line that are not UTF-8 arrive as lone surrogates. Neither JSON nor a hash accepts them."""
    done = simulate("How?", "--model", "m\udcff", "--digest", "d\udcff")
    assert (done.returncode, {body["model"] for body in server.requests}) == (0, {"m\ufffd"}), done.stderr


def test_run_ends_where_the_weights_change(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    server.listed = BASE
    server.faults = [lambda _: None] * 3 + [comes_back_as(server, TUNED, drop)]
    run = ("generate", str(questions), "--out", str(tmp_path / "run"), "--endpoint", server.url)
    done = cli(*run, "--method", "vanilla", "--sequential")
    assert "other weights under the name m" in complaint(done)
    assert rows(tmp_path / "run/record.db", "SELECT state, count(*) FROM inputs GROUP BY state") == [
        ("done", 3),
        ("waiting", 9),
    ]
