"""What `--pool ADDRESS[?replicas=MIN..MAX&cpus=N&gpus=SHARE&jpeg=QUALITY]` says."""

from dataclasses import dataclass
from urllib.parse import parse_qsl

from engines.load import ON_GPU
from engines.weights import Weights
from models.errors import UserError
from service.inference.gpu_perception import MAX_BATCH as GPU_BATCH
from service.inference.scheduler import MAX_BATCH
from service.pool.messages import Spec

MOST = 256  # replicas


@dataclass(frozen=True, slots=True)
class PoolOptions:
    """Say where a pool is and what it may use.

    Attributes:
        address: "auto" or HOST:PORT of a Ray cluster that this machine is a node of, or ray://HOST:PORT.
        fewest: Replicas that are kept without any load.
        most: Replicas under load.
        cpus: Cores that each replica takes.
        gpus: GPUs that each replica takes, below 1 for a share; None takes a whole one for an engine that needs it.
        jpeg: Quality of the JPEG as which pictures of faces are sent; None sends them as they are.
    """

    address: str
    fewest: int = 1
    most: int = 1
    cpus: float = 1.0
    gpus: float | None = None
    jpeg: int | None = None


def read_pool(text: str) -> PoolOptions:
    """Return the options in ADDRESS[?NAME=VALUE&...]. Raise `UserError` for an unknown name or a bad value."""
    address, _, query = text.partition("?")
    if not address:
        raise UserError(f"--pool {text}: give the address of a Ray cluster, such as auto or 10.0.0.5:6379")
    given = dict(parse_qsl(query, keep_blank_values=True))
    if unknown := [name for name in given if name not in ("replicas", "cpus", "gpus", "jpeg")]:
        raise UserError(f"--pool {text}: there is no {unknown[0]}; the options are replicas, cpus, gpus and jpeg")
    first, dots, last = given.get("replicas", "1").partition("..")
    try:
        fewest, most = int(first), int(last if dots else first)
        cpus, gpus = float(given.get("cpus", 1)), float(given["gpus"]) if "gpus" in given else None
        jpeg = int(given["jpeg"]) if "jpeg" in given else None
    except ValueError:
        raise UserError(f"--pool {text}: give numbers, such as replicas=1..4&cpus=2&gpus=0.5") from None
    if not 1 <= fewest <= most <= MOST:
        raise UserError(f"--pool {text}: replicas is a number from 1 to {MOST}, or MIN..MAX such as 1..8")
    if not 0 < cpus <= 1024 or (gpus is not None and not 0 <= gpus <= 64):
        raise UserError(f"--pool {text}: cpus must be above 0, and gpus 0 or more")
    if jpeg is not None and not 50 <= jpeg <= 100:
        raise UserError(f"--pool {text}: jpeg is a quality from 50 to 100, such as 95")
    return PoolOptions(address, fewest, most, cpus, gpus, jpeg)


def spec_of(options: PoolOptions, *, model: str, engine: str, weights: Weights, rate: float, max_batch: int) -> Spec:
    """Return the description of the pool. Raise `UserError` for an engine on a GPU whose replicas take none."""
    on_gpu = engine.partition(":")[0] in ON_GPU
    gpus = options.gpus if options.gpus is not None else float(on_gpu)
    if on_gpu and not gpus:
        raise UserError(f"--engine {engine} needs a GPU, and --pool says gpus=0; leave that out, or give a share")
    batch = max_batch or (GPU_BATCH if on_gpu else MAX_BATCH)
    return Spec(model, engine, weights, rate, batch, options.fewest, options.most, options.cpus, gpus)
