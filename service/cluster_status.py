"""`affectstream cluster status`: the nodes of a cluster, the workers on them, their sessions, and the pools."""

from typing import Any

from models.errors import UserError
from service.cluster import NAMESPACE, connect

Rows = list[dict[str, Any]]


def status(address: str) -> dict[str, Rows]:
    """Return a row for each node, worker and pool of the cluster at `address`. Raise `UserError` without one."""
    ray = connect(address)
    from service.workers.ray_host import ANSWER_WITHIN, registrar

    try:
        handle = registrar()
        nodes, workers = ray.get([handle.nodes.remote(), handle.workers.remote()], timeout=10 * ANSWER_WITHIN)
        pools = _pools(ray, ANSWER_WITHIN)
    except (ray.exceptions.RayError, TimeoutError) as error:
        raise UserError(f"The cluster at {address} does not answer ({type(error).__name__}); try again.") from None
    finally:
        ray.shutdown()
    return {
        "nodes": [_node(node, workers) for node in sorted(nodes, key=lambda one: str(one["name"]))],
        "workers": [_worker(one) for one in sorted(workers, key=lambda one: (str(one["node"]), int(one["pid"])))],
        "pools": pools,
    }


def _node(node: dict[str, Any], workers: Rows) -> dict[str, Any]:
    here = [worker for worker in workers if worker["node"] == node["name"]]
    names = [name for worker in here for name in worker["sessions"]]
    return {
        "node": node["name"],
        "address": node["address"],
        "state": "leaving" if node["leaving"] else "alive",
        "CPUs free": f"{node['free'].get('CPU', 0):g} of {node['total'].get('CPU', 0):g}",
        "GPUs free": f"{node['free'].get('GPU', 0):g} of {node['total'].get('GPU', 0):g}",
        "workers": len(here),
        "sessions": len(names),
    }


def _worker(worker: dict[str, Any]) -> dict[str, Any]:
    return {
        "worker": worker["worker"],
        "node": worker["node"],
        "process": worker["pid"],
        "core": "-" if worker["core"] is None else worker["core"],
        "sessions": ", ".join(sorted(worker["sessions"])) or "-",
    }


def _pools(ray: Any, within: float) -> Rows:
    """Return the rows of the pools, whose supervisors are found by their names."""
    from ray.util import list_named_actors

    from service.pool.messages import PREFIX

    rows = []
    for one in sorted(list_named_actors(all_namespaces=True), key=lambda one: str(one["name"])):
        name = one["name"]
        if one["namespace"] != NAMESPACE or not name.startswith(PREFIX) or "/" in name:
            continue
        row = dict.fromkeys(("pool", "replicas", "waiting", "wait, ms", "faces a call", "busy, %", "dropped"), "-")
        row = {**row, "pool": name, "problem": "-"}
        try:
            said = ray.get(ray.get_actor(name, namespace=NAMESPACE).report.remote(), timeout=within)
        except (ray.exceptions.RayError, TimeoutError, ValueError) as error:
            rows.append(row | {"problem": f"its supervisor does not answer ({type(error).__name__})"})
            continue
        load = said.load
        rows.append(
            row
            | {
                "replicas": load.replicas,
                "waiting": load.waiting,
                "wait, ms": round(1e3 * load.wait, 1),
                "faces a call": round(load.batch, 1),
                "busy, %": round(100 * load.busy),
                "dropped": said.late,
                "problem": said.problem or "-",
            }
        )
    return rows
