"""What a program on trio executes in jobs of a real supervisor, and is attached to."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from mocker.isolation import ExitStatus, SpecError
from mocker.supervisor import AnswerError, AttachedJob, Client, NoSupervisorError
from tests.end_to_end.processes import PATIENCE
from tests.end_to_end.supervised import ANSWER_LINES, Supervised, open_supervisor
from tests.requirements import requires_busybox, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

JOBS = f"""
[jobs.web]
command = ["sh", "-c", "echo up; exec sleep 1000"]
env = {{A = "one", B = "two"}}
workdir = "/tmp"

[jobs.shell]
command = ["sh", "-c", '''
stty -echo; echo ready
{ANSWER_LINES}''']
tty = true
restart = "never"

[jobs.loud]
command = ["sh", "-c", "read -r line; exec yes"]
tty = true
output = "null"
"""


@pytest.fixture
def supervised(tmp_path: Path) -> Iterator[Supervised]:
    with open_supervisor(tmp_path, JOBS) as supervised:
        supervised.wait_line("web | up")
        supervised.wait_line("shell | ready")
        supervised.wait_event("job.started", job="loud")
        yield supervised


@pytest.fixture
def client(supervised: Supervised) -> Client:
    return Client(str(supervised.file.parent / "mocker" / "jobs.sock"))


async def read_all(stream: trio.abc.ReceiveStream | None) -> bytes:
    assert stream is not None
    with trio.fail_after(PATIENCE):
        return b"".join([part async for part in stream])


async def read_until(stream: trio.abc.ReceiveStream | None, end: bytes) -> bytes:
    assert stream is not None
    read = b""
    with trio.fail_after(PATIENCE):
        while not read.endswith(end):
            part = await stream.receive_some()
            assert part, read
            read += part
    return read


async def test_process_is_written_to_and_read_from(client: Client) -> None:
    program = "cat; echo oh >&2; exit 3"

    async with client, client.exec("web", ["sh", "-c", program]) as process:
        assert process.stdin is not None
        await process.stdin.send_all(b"hello\n")
        first = await read_until(process.stdout, b"\n")
        await process.stdin.aclose()
        rest, complaint = await read_all(process.stdout), await read_all(process.stderr)
        status = await process.wait()

    assert (first, rest, complaint, status) == (b"hello\n", b"", b"oh\n", ExitStatus(code=3))


async def test_process_is_as_the_job_but_for_what_is_asked_for(client: Client) -> None:
    program = 'echo "$A $B $(pwd)"'

    async with client:
        async with client.exec("web", ["sh", "-c", program]) as process:
            plain = await read_all(process.stdout)
        async with client.exec(
            "web", ["sh", "-c", program], env={"B": "x"}, workdir="/"
        ) as process:
            other = await read_all(process.stdout)
        async with client.exec("web", ["id", "-u"], user="0") as process:
            user = await read_all(process.stdout)

    assert (plain, other, user) == (b"one two /tmp\n", b"one x /\n", b"0\n")


async def test_process_may_have_descriptors_of_the_caller_s(client: Client, tmp_path: Path) -> None:
    file = tmp_path / "out"
    read_end, write_end = os.pipe()
    os.write(write_end, b"hello")
    os.close(write_end)

    with file.open("wb") as out, os.fdopen(read_end) as source:
        stdin, stdout = source.fileno(), out.fileno()
        async with client, client.exec("web", ["cat"], stdin=stdin, stdout=stdout) as process:
            streams = process.stdin, process.stdout
            status = await process.wait()

    assert (streams, status, file.read_bytes()) == ((None, None), ExitStatus(code=0), b"hello")


async def test_process_may_have_a_terminal_that_changes_its_size(client: Client) -> None:
    program = "tty; stty size; read word; echo $word; stty size; exit 4"

    async with client, client.exec("web", ["sh", "-c", program], tty=True) as process:
        first = await read_until(process.terminal, b"80\r\n")
        process.resize(30, 100)
        assert process.terminal is not None
        await process.terminal.send_all(b"typed\n")
        rest = await read_all(process.terminal)
        status = await process.wait()

    assert first.startswith(b"/dev/pts/")
    assert first.endswith(b"\r\n24 80\r\n")
    assert (rest, status) == (b"typed\r\ntyped\r\n30 100\r\n", ExitStatus(code=4))


async def test_process_is_signalled(client: Client) -> None:
    async with client, client.exec("web", ["sleep", "1000"]) as process:
        process.send_signal(signal.SIGTERM)
        status = await process.wait()

    assert status == ExitStatus(signal=signal.SIGTERM)


async def test_process_ends_with_its_block(client: Client) -> None:
    program = "echo begun; exec sleep 1000"
    read_end, write_end = os.pipe()
    with trio.fail_after(PATIENCE):
        async with client, trio.lowlevel.FdStream(read_end) as printed:
            async with client.exec("web", ["sh", "-c", program], stdout=write_end):
                os.close(write_end)
                await read_until(printed, b"begun\n")

            # Only when nobody is left who could print is this the end.
            assert await read_all(printed) == b""


async def test_process_ends_when_its_task_is_cancelled(client: Client) -> None:
    read_end, write_end = os.pipe()
    async with client, trio.lowlevel.FdStream(read_end) as printed:
        with trio.CancelScope() as scope:
            async with client.exec("web", ["sleep", "1000"], stdout=write_end) as process:
                os.close(write_end)
                scope.cancel()
                await process.wait()

        assert await read_all(printed) == b""


async def test_several_are_executed_at_a_time(client: Client) -> None:
    found = list[bytes]()

    async def run(number: int) -> None:
        async with client.exec("web", ["sh", "-c", f"read x; echo {number}"]) as process:
            await started.wait()
            assert process.stdin is not None
            await process.stdin.send_all(b"\n")
            found.append(await read_all(process.stdout))

    started = trio.Event()
    async with client, trio.open_nursery() as nursery:
        for number in range(5):
            nursery.start_soon(run, number)
        started.set()

    assert sorted(found) == [b"%d\n" % number for number in range(5)]


@pytest.mark.parametrize(
    ("job", "argv", "code", "exit_code"),
    [
        ("web", ["nope"], "cannot-execute", 127),
        ("web", ["/etc"], "cannot-execute", 126),
        ("nobody", ["true"], "no-such-job", 125),
    ],
)
async def test_what_cannot_be_executed_is_told_with_an_exit_status(
    client: Client, job: str, argv: list[str], code: str, exit_code: int
) -> None:
    async with client:
        with pytest.raises(AnswerError) as caught:
            async with client.exec(job, argv) as process:
                await process.wait()

    assert (caught.value.code, caught.value.exit_code) == (code, exit_code)


async def test_what_is_no_command_is_refused(client: Client) -> None:
    async with client:
        with pytest.raises(SpecError):
            client.exec("web", [])


async def test_end_of_the_supervisor_is_told(client: Client, supervised: Supervised) -> None:
    async with client, client.exec("web", ["sleep", "1000"]) as process:
        supervised.process.kill()

        with pytest.raises(NoSupervisorError, match="and what was executed with it"):
            await process.wait()


async def say(job: AttachedJob, word: bytes, end: bytes) -> bytes:
    await job.terminal.send_all(word + b"\n")
    return await read_until(job.terminal, end)


async def test_job_is_typed_at_and_goes_on_after_the_block(
    client: Client, supervised: Supervised
) -> None:
    async with client:
        for word in (b"one", b"two"):
            async with client.attach("shell") as job:
                assert await say(job, word, b"\n") == b"got " + word + b"\r\n"

        async with client.attach("shell") as job:
            job.resize(40, 120)
            with trio.fail_after(PATIENCE):
                while await say(job, b"size", b"\n") != b"40 120\r\n":
                    pass  # nobody tells when it has followed

    supervised.wait_line("shell | got two")
    assert not supervised.find("job.exited")


async def test_end_of_the_job_is_the_end_of_its_terminal(client: Client) -> None:
    async with client, client.attach("shell") as job:
        await job.terminal.send_all(b"end\n")

        assert await read_all(job.terminal) == b""
        assert await job.wait() == ExitStatus(code=7)


@pytest.mark.parametrize(("job", "code"), [("web", "no-terminal"), ("nobody", "no-such-job")])
async def test_what_nobody_can_be_attached_to_is_told(client: Client, job: str, code: str) -> None:
    async with client:
        with pytest.raises(AnswerError) as caught:
            async with client.attach(job):
                pass

    assert caught.value.code == code


async def test_who_takes_nothing_is_left_behind(client: Client, supervised: Supervised) -> None:
    async with client, client.attach("loud") as job:
        await job.terminal.send_all(b"\n")
        with trio.fail_after(PATIENCE), pytest.raises(AnswerError) as caught:
            await job.wait()

    assert caught.value.code == "stalled"
    assert not supervised.find("job.exited")
