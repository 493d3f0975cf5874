"""Whether a run is ready, and whether it is alive.

Readiness gates those that depend on a job and never restarts it; liveness restarts it. A job is
asked again and again, or it says by itself that it is ready, see `notices`. A question that can't
be put, because there is no descriptor or process left for it, says nothing about the job: it counts
neither as a good answer nor as a bad one.
"""

import shlex
from errno import EAGAIN, EMFILE, ENFILE

import attrs
import structlog
import trio

from mocker.isolation import Container, SetupError

from .config import JobConfig, Probe
from .notices import Notice
from .probe_exec import ask_exec
from .probe_http import ask_http
from .probe_tcp import ask_tcp

_OWN_TROUBLE = {EAGAIN, EMFILE, ENFILE}
_SHOWN = 100  # characters of a command


@attrs.frozen
class Answer:
    """What has come of a question.

    Attributes:
        reason: What was asked, and what is bad about the answer; empty if nothing is.
        counts: Whether it says something about the job.
    """

    reason: str
    counts: bool = True


async def wait_ready(job: JobConfig, container: Container, notice: Notice) -> str:
    """Wait until a run is ready, or the time for that is over.

    Returns:
        Why it is not and never will be; "" if it is.
    """
    last = ""
    with trio.move_on_after(job.start_timeout):
        if job.ready is None or job.ready.kind in {"log", "fd", "notify"}:
            await notice.said.wait()
            return notice.refusal
        while True:
            last = (await ask(job.ready, container)).reason
            if not last:
                return ""
            await trio.sleep(job.ready.interval)
    return f"not ready after {job.start_timeout:g} s{last and f'; {last}'}"


async def wait_dead(job: JobConfig, probe: Probe, container: Container) -> str:
    """Wait until a run does not answer any more, and return why it counts as dead."""
    log = structlog.get_logger("mocker.jobs", job=job.name, pid=container.pid)
    bad, puttable = 0, True
    if job.ready is None:
        await trio.sleep(probe.interval)  # it has started just now
    while True:
        answer = await ask(probe, container)
        if not answer.counts:
            if puttable:
                log.warning("job.not_asked", reason=answer.reason)
        elif not answer.reason:
            if bad:
                log.info("job.healthy")
            bad = 0
        else:
            bad += 1
            if bad == 1:
                log.warning("job.unhealthy", reason=answer.reason)
            if bad == probe.failures:
                return f"{bad} of {bad} answers were bad: {answer.reason}"
        puttable = answer.counts
        await trio.sleep(probe.interval)


async def ask(probe: Probe, container: Container) -> Answer:
    """Put one question, of a kind that can be put."""
    reason = f"no answer within {probe.timeout:g} s"
    with trio.move_on_after(probe.timeout):
        try:
            reason = await _put(probe, container)
        except (OSError, SetupError) as error:
            reason = str(error)
            if error.errno in _OWN_TROUBLE:
                return Answer(f"{describe(probe)}: {reason}", counts=False)
    return Answer(f"{describe(probe)}: {reason}" if reason else "")


def describe(probe: Probe) -> str:
    """Return what is asked, in one line."""
    match probe:
        case Probe(kind="http"):
            return f"GET {probe.target}"
        case Probe(kind="exec", target=tuple(argv)):
            text = shlex.join(argv)
            return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
        case _:
            return f"port {probe.target}"


async def _put(probe: Probe, container: Container) -> str:
    """Return what is bad about the answer; raises as the three do that it hands over to."""
    match probe:
        case Probe(kind="tcp", target=int(port)):
            return await ask_tcp(container, port)
        case Probe(kind="http", target=str(url)):
            return await ask_http(container, url)
        case Probe(kind="exec", target=tuple(argv)):
            return await ask_exec(container, argv)
        case _:
            raise AssertionError(f"a {probe.kind} probe can't be asked")
