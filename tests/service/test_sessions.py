"""Sessions as the process that runs them counts them: the engine is prepared for as many as there are."""

from typing import cast

from helpers.live_server import PURPOSE
from helpers.streams import until
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


def test_a_face_and_a_voice_of_each_session_fit_into_batches_that_are_compiled(runtime: Runtime) -> None:
    assert runtime._voice is not None
    runtime.expect(7)
    for engine in (runtime.loaded.engine, runtime._voice.loaded.engine):
        assert isinstance(engine, OpenVinoEngine)
        until(lambda engine=engine: 8 in engine._graphs._by_rows)


def test_a_session_that_begins_while_the_service_ends_is_no_error(runtime: Runtime) -> None:
    ended = Runtime(runtime.loaded, runtime.networks)
    ended.close()
    ended.expect(7)
