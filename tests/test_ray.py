"""--engine ray: the same run on a cluster of two nodes on this machine, one of which dies."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix_align import Endpoint, Refused
from matrix_align.data.sources import questions_from
from matrix_align.generate.run import Run
from matrix_align.llm.pool import Tally

from .conftest import Run as Cli
from .conftest import matrix
from .fake import FakeServer, error

pytest.importorskip("ray")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@pytest.fixture
def cluster(caplog: pytest.LogCaptureFixture) -> Iterator[Any]:
    """Two nodes of two cores each. The first is the head, which a run can't lose.

    A run leaves nothing behind that would still report to the nodes once they are gone.
    """
    import ray
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2})
    made.second = made.add_node(num_cpus=2)
    made.wait_for_nodes()
    ray.init(address=made.address, log_to_driver=False)
    try:
        yield made
    finally:
        ray.shutdown()
        made.shutdown()
    gc.collect()
    assert not [record.message for record in caplog.records if "Ray is not initialized" in record.message]


@pytest.mark.filterwarnings("ignore")
def test_node_that_dies(cluster: Any, server: FakeServer, tmp_path: Path) -> None:
    """Every question ends with exactly one scene, and its calls are in the record."""
    from matrix_align.generate.ray import generate_on_ray

    server.latency = 0.05
    source = tmp_path / "questions.txt"
    source.write_text("".join(f"How do I plant tree number {number}?\n" for number in range(60)))
    with Run(tmp_path / "run", matrix(), server.name) as run:
        run.inputs.take([questions_from(str(source))])
        tally = Tally()

        def dies() -> None:
            while tally.done < 8:
                time.sleep(0.05)
            cluster.remove_node(cluster.second, allow_graceful=False)

        killer = threading.Thread(target=dies, daemon=True)
        killer.start()
        asyncio.run(generate_on_ray(run, [Endpoint(server.url, server.name)], tally, 4))
        killer.join(10)
        assert run.inputs.counts() == {"done": 60}
        assert run.store.select("SELECT count(*), count(DISTINCT question) FROM answers") == [(60, 60)]
        [(calls,)] = run.store.select("SELECT count(*) FROM calls")
        assert calls == sum(len(answer.calls) for answer, _, _ in run.inputs.answers())


@pytest.mark.filterwarnings("ignore")
def test_faults_of_servers(cluster: Any, server: FakeServer, tmp_path: Path) -> None:
    """A wrong key stops the run and fails no scene. A server that is overloaded for a while costs only time."""
    from matrix_align.generate.ray import generate_on_ray

    source = tmp_path / "questions.txt"
    source.write_text("".join(f"How do I plant tree number {number}?\n" for number in range(6)))
    with Run(tmp_path / "run", matrix(), server.name) as run:
        run.inputs.take([questions_from(str(source))])
        server.key = "right"
        with pytest.raises(Refused, match="MATRIX_ALIGN_API_KEY"):
            asyncio.run(generate_on_ray(run, [Endpoint(server.url, server.name)], Tally(), 4))
        assert run.inputs.counts() == {"waiting": 6}
        server.key = None
        server.faults = [lambda request: error(503, "busy", **{"Retry-After": "0"})] * 34
        asyncio.run(generate_on_ray(run, [Endpoint(server.url, server.name)], Tally(), 6))
        assert run.inputs.counts() == {"done": 6}


def test_ray_needs_an_endpoint(cli: Cli, tmp_path: Path) -> None:
    """The command says so before it starts a model or makes a run."""
    source = tmp_path / "one.txt"
    source.write_text("One?\n")
    told = cli("generate", str(source), "--out", str(tmp_path / "run"), "--engine", "ray")
    assert told.returncode == 2 and "--engine ray needs --endpoint" in told.stderr
    assert not (tmp_path / "run").exists()


def test_cluster_that_is_not_there(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    source = tmp_path / "one.txt"
    source.write_text("One?\n")
    command = ("generate", str(source), "--out", str(tmp_path / "run"), "--engine", "ray", "--endpoint", server.url)
    told = cli(*command, RAY_ADDRESS="127.0.0.1:9")
    assert told.returncode == 2 and "RAY_ADDRESS" in told.stderr
    assert "Traceback" not in told.stderr
