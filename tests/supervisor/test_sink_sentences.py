import os
from collections.abc import Iterator

import pytest
import structlog
import trio

from mocker.supervisor.output import Output
from mocker.supervisor.sink_sentences import render_sentence, tell_in_sentences


@pytest.fixture(autouse=True)
def _no_traces() -> Iterator[None]:
    yield
    structlog.reset_defaults()


@pytest.mark.parametrize(
    ("event", "sentence"),
    [
        (
            {"event": "sink.failed", "sink": "/a", "reason": "it cannot be written: No space"},
            "/a: it cannot be written: No space",
        ),
        (
            {"event": "sink.recovered", "sink": "journald", "after_s": 1.5},
            "journald: it can be written again, after 1.5 s",
        ),
        ({"event": "sink.lost", "sink": "/a", "lines": 2}, "/a: 2 lines are lost"),
        ({"event": "sink.lost", "sink": "/a", "lines": 1}, "/a: 1 line is lost"),
        (
            {"event": "job.output_lost", "job": "web", "channel": "stdout", "lines": 21},
            "stdout: 21 lines are lost",
        ),
        ({"event": "a.b", "c": 1, "d": "e"}, "a.b c=1 d=e"),
    ],
)
def test_event_is_a_sentence(event: dict[str, object], sentence: str) -> None:
    assert render_sentence(event) == sentence


async def test_sentences_are_lines_whatever_a_file_is_called() -> None:
    fd = os.memfd_create("stderr")
    output = Output(fd)
    log = structlog.get_logger("test")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(output.run)
        tell_in_sentences("mocker run", output)
        log.error("sink.lost", sink="/new\nline", lines=3)
        log.debug("sink.lost", sink="nobody is told", lines=3)
        assert await output.drain(5)
        nursery.cancel_scope.cancel()

    with os.fdopen(fd, "rb") as told:
        told.seek(0)
        assert told.read() == rb"mocker run: /new\nline: 3 lines are lost" + b"\n"
