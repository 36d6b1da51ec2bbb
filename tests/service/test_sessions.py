"""Sessions as the process that runs them counts them: the engine is prepared for as many as there are."""

import asyncio
from typing import cast

from helpers.live_server import PURPOSE
from helpers.waiting import until
from helpers.whip import SeesNobody

from engines.openvino import OpenVinoEngine
from service.runtime import Runtime
from service.sessions import Sessions


def test_the_engine_is_prepared_for_the_sessions_that_run() -> None:
    expected: list[int] = []
    runtime = SeesNobody()
    runtime.expect = expected.append  # type: ignore[method-assign]
    sessions = Sessions(cast(Runtime, runtime), lambda event: None, limit=8, purpose=PURPOSE)
    for name in ("one", "two", "three"):
        sessions.open("demo:", name)
    sessions.close("two")
    sessions.open("demo:", "four")
    assert expected == [1, 2, 3, 3]
    sessions.close_all()


def test_a_face_of_each_session_fits_into_a_batch_that_is_compiled(runtime: Runtime) -> None:
    engine = runtime.loaded.engine
    assert isinstance(engine, OpenVinoEngine)
    runtime.expect(7)
    asyncio.run(until(lambda: 8 in engine._graphs._by_rows))


def test_a_session_that_begins_while_the_service_ends_is_no_error(runtime: Runtime) -> None:
    ended = Runtime(runtime.loaded, runtime.networks)
    ended.close()
    ended.expect(7)
