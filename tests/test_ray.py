"""--engine ray: the same run on a cluster of two nodes, on this machine, one of which dies."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from matrix_align import Settings
from matrix_align.run import Run
from matrix_align.servers import Tally
from matrix_align.sources import read

from .conftest import Run as Cli
from .fake import FakeServer

pytest.importorskip("ray")
os.environ["RAY_USAGE_STATS_ENABLED"] = "0"


@pytest.fixture
def cluster() -> Iterator[Any]:
    """Two nodes of two cores each; the first is the head, which a run can't lose."""
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


@pytest.mark.filterwarnings("ignore")
def test_node_that_dies(cluster: Any, server: FakeServer, tmp_path: Path) -> None:
    """Every question ends with exactly one scene, and its calls are in the record."""
    from matrix_align.ray_engine import generate_on_ray

    server.latency = 0.05
    source = tmp_path / "questions.txt"
    source.write_text("".join(f"How do I plant tree number {number}?\n" for number in range(60)))
    with Run(tmp_path / "run", Settings(roles=2, steps=1), server.name) as run:
        run.take(read(str(source)))
        tally = Tally()

        def dies() -> None:
            while tally.done < 8:
                time.sleep(0.05)
            cluster.remove_node(cluster.second, allow_graceful=False)

        killer = threading.Thread(target=dies, daemon=True)
        killer.start()
        asyncio.run(generate_on_ray(run, [server.url], server.name, tally, 4))
        killer.join(10)
        assert run.counts() == {"done": 60}
        assert run.store.select("SELECT count(*), count(DISTINCT question) FROM scenes") == [(60, 60)]
        [(calls,)] = run.store.select("SELECT count(*) FROM calls")
        assert calls == sum(len(scene.calls) for scene, _, _ in run.scenes())


def test_ray_needs_an_endpoint(cli: Cli, tmp_path: Path) -> None:
    source = tmp_path / "one.txt"
    source.write_text("One?\n")
    told = cli("generate", str(source), "--out", str(tmp_path / "run"), "--engine", "ray", "--model", "x")
    assert told.returncode == 2 and "--endpoint" in told.stderr
