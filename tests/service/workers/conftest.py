"""The Ray cluster that the tests of this folder share, because it takes longer to start than most of them to run."""

from collections.abc import Iterator

import pytest
from helpers.serve_process import environment_of

from service.bench.ray_nodes import RayCluster, ray_cluster


@pytest.fixture(scope="session")
def shared_nodes() -> Iterator[RayCluster]:
    with ray_cluster("head", "one", "two", **environment_of({})) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def nodes(shared_nodes: RayCluster) -> RayCluster:
    """Three nodes, whatever files before have done to theirs."""
    return whole(shared_nodes)


@pytest.fixture
def cluster(nodes: RayCluster) -> RayCluster:
    """Three nodes, whatever tests before have done to theirs."""
    return whole(nodes)


def whole(nodes: RayCluster) -> RayCluster:
    """Return the cluster once it has its three nodes again."""
    while len(nodes.nodes) < 3:
        nodes.add()
    return nodes
