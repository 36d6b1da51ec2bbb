"""A Ray cluster of this test's own, and pools of small untrained networks on it."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from engines.papers import export
from engines.weights import Source, Weights
from models.files import sha256
from service.pool.client import Pool
from service.pool.messages import Spec
from service.pool.options import PoolOptions


@contextmanager
def small_cluster(cpus: int = 4) -> Iterator[Any]:
    """Return a cluster of one node with so many logical cores."""
    import ray
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": cpus, "include_dashboard": False, "object_store_memory": 100 << 20},
    )
    try:
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def weights_in(folder: Path, model: str) -> Weights:
    """Return the weights of a small untrained network of the registry, written as ONNX."""
    from helpers.live_models import live_of

    path = folder / f"{model}.onnx"
    export.write(live_of(model), path)
    return Weights(
        name=f"{model}-test", file=path.name, computes="", licence="", commercial=False, trained_on="",
        sha256=sha256(path), size=path.stat().st_size, sources=(Source(path=str(path)),),
        model=model, version="test", trained=False,
    )  # fmt: skip


def pool_of(cluster: Any, weights: Weights, **more: Any) -> Pool:
    """Return an opened pool of one replica, or of what `more` says."""
    spec = replace(Spec(weights.model, "openvino:fp32", weights, rate=5.0, max_batch=16), **more)
    pool = Pool(PoolOptions(cluster.address), spec)
    pool.open()
    return pool
