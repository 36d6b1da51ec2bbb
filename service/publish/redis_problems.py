"""What is wrong with Redis, in a word for the metrics and a sentence for people."""

import re
from dataclasses import dataclass

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    ResponseError,
)
from redis.exceptions import TimeoutError as RedisTimeout

# Reasons of `affect_sink_problem`.
REASONS = (
    "unreachable", "timeout", "password", "permission", "memory", "read_only", "loading", "not_saving", "cluster",
    "wrong_type", "refused",
)  # fmt: skip
COMMANDS = "XADD, XREVRANGE, XLEN, TYPE, DEL, EXPIRE, PERSIST, MULTI, EXEC and PING on the keys affect:*"
_COMMAND = re.compile(r"run the '([a-z|]{1,40})' command")
NO_MULTI = "EXEC without MULTI"  # how Redis answers where MULTI was refused, and what followed was not
_NO_PERMISSION = "NOPERM"
_NOT_SAVING = "MISCONF"  # how Redis begins the refusal of writes when it cannot save to its disk


@dataclass(frozen=True, slots=True)
class RedisProblem:
    """Say why events do not reach Redis: one of `REASONS`, and a sentence without credentials."""

    reason: str
    sentence: str


def problem_of(error: Exception, label: str, timeout: float) -> RedisProblem:
    """Return what an error of a whole command or connection means.

    Args:
        error: A `redis.exceptions.RedisError` or `OSError`.
        label: The server's address without credentials.
        timeout: Seconds that an answer may take.
    """
    if isinstance(error, NoPermissionError) or (
        isinstance(error, ResponseError) and (_NO_PERMISSION in str(error) or NO_MULTI in str(error))
    ):
        return RedisProblem("permission", f"{label} does not let this user {_refused(error)}; allow {COMMANDS}")
    match error:
        case AuthenticationError() | AuthorizationError():
            return RedisProblem("password", f"{label} refuses the user name or password; correct those in --redis")
        case OutOfMemoryError():
            return RedisProblem("memory", f"{label} is full (maxmemory is reached); raise maxmemory or remove keys")
        case ReadOnlyError():
            return RedisProblem("read_only", f"{label} is a read-only replica; give --redis the address of the primary")
        case BusyLoadingError():
            return RedisProblem("loading", f"{label} is still loading its data; events wait until it has")
        case MovedError() | AskError() | ClusterDownError():
            return RedisProblem(
                "cluster",
                f"{label} is a node of a Redis Cluster that does not hold this stream; give --redis a single server, "
                "or a cluster whose one node holds all slots",
            )
        case RedisTimeout() | TimeoutError():
            return RedisProblem(
                "timeout", f"{label} does not answer within {timeout:g} s; check its load and the network"
            )
        case ResponseError():
            said = str(error).rpartition("caused error: ")[2]  # redis-py puts the whole command, and the event, before
            if said.startswith(_NOT_SAVING):
                return RedisProblem(
                    "not_saving", f"{label} refuses writes because it cannot save to its disk; see its log"
                )
            return RedisProblem("refused", f"{label} refuses events: {said}")
        case _:
            return RedisProblem("unreachable", f"{label} does not answer: {error}")


def _refused(error: Exception) -> str:
    """Return what the user may not do, as Redis says: a command, or the keys or channels that it is used on."""
    if NO_MULTI in str(error):
        return "run MULTI"
    command = _COMMAND.search(str(error))
    return f"run {command[1].upper()}" if command else "use the keys affect:*"


def wrong_type(label: str, streams: list[str]) -> RedisProblem:
    """Return the problem that the keys `streams` hold something else than a stream."""
    named = ", ".join(streams[:3]) + (f" and {len(streams) - 3} more" if len(streams) > 3 else "")
    keys, have = ("key", "holds") if len(streams) == 1 else ("keys", "hold")
    return RedisProblem(
        "wrong_type",
        f"the {keys} {named} of {label} {have} something else than a stream, and events for them are lost; "
        "remove or rename them",
    )
