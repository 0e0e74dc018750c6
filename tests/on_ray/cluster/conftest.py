"""A cluster of three logical nodes on this machine, two servers, and S3 on loopback."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiomessages.testing import MessagesServer

os.environ.setdefault("RAY_raylet_start_wait_time_s", "120")  # Ray reads it when it is imported
ray = pytest.importorskip("ray", reason="ray is not installed")
moto = pytest.importorskip("moto.server", reason="moto is not installed")

from pyarrow import fs  # noqa: E402
from ray.cluster_utils import Cluster  # noqa: E402

sys.path.insert(0, str(Path(__file__).parent))  # for conftest_cluster.py, which is no package

from conftest_cluster import KEYS, NODES, serve  # noqa: E402


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Start a head without CPUs and keys, and two nodes of two CPUs each; connect to the head."""
    before = {name: os.environ.get(name) for name in NODES}
    os.environ.update({name: value for name, value in NODES.items() if name not in KEYS})
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0})
    os.environ.update(KEYS)  # for the nodes that follow, and tests in this process
    for _ in range(2):
        made.add_node(num_cpus=2)
    ray.init(address=made.address, log_to_driver=False)
    yield made
    ray.shutdown()
    made.shutdown()
    for name, value in before.items():
        os.environ.pop(name) if value is None else os.environ.update({name: value})


@pytest.fixture
def server(cluster: Cluster) -> Iterator[MessagesServer]:  # noqa: ARG001 it has the key
    """Serve 120 completions of the project `a`."""
    with serve("KEY_A", 120) as running:
        yield running


@pytest.fixture(scope="session")
def s3(cluster: Cluster) -> Iterator[str]:  # noqa: ARG001 it has the key
    """Serve S3 on loopback, and return the end of a URI of it."""
    running = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    system = fs.S3FileSystem(
        endpoint_override=f"{host}:{port}",
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    system.create_dir("bucket")
    yield f"?scheme=http&endpoint_override={host}:{port}&region=us-east-1"
    running.stop()
