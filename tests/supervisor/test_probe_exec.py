import pytest
import trio

from mocker.isolation import SetupError, spawn
from mocker.supervisor.probe_exec import ask_exec
from tests.containers import in_container, wait_for_titles
from tests.leaks import read_descriptors
from tests.supervisor.probe_world import SLEEP


@in_container
@pytest.mark.parametrize(
    ("script", "answer"),
    [
        ("exit 0", ""),
        ("echo fine", ""),
        ("exit 3", "exit code 3"),
        ("kill -9 $$", "SIGKILL"),
        ("echo one; echo two >&2; exit 1", "exit code 1: two"),
        ("printf 'no newline'; exit 1", "exit code 1: no newline"),
        ("echo last; echo; echo ' '; exit 1", "exit code 1: last"),
        ("head -c 1000 /dev/zero | tr '\\0' a; exit 1", f"exit code 1: {'a' * 200}"),
        ("printf '\\377\\n'; exit 1", "exit code 1: \N{REPLACEMENT CHARACTER}"),
        ("read line && exit 1", "exit code 1"),
    ],
)
async def test_command_is_judged_by_how_it_ends(script: str, answer: str) -> None:
    with spawn(SLEEP) as container:
        assert await ask_exec(container, ("sh", "-c", script)) == answer


@in_container
async def test_command_that_is_not_there_is_a_bad_answer() -> None:
    with spawn(SLEEP) as container:
        answer = await ask_exec(container, ("nosuch",))

    assert answer.startswith("cannot execute 'nosuch': No such file or directory (ENOENT)")


@in_container
@pytest.mark.slow
async def test_output_without_end_is_taken_and_forgotten() -> None:
    with spawn(SLEEP) as container:
        answer = await ask_exec(
            container, ("sh", "-c", "head -c 30000000 /dev/zero; echo; echo end; exit 1")
        )

    assert answer == "exit code 1: end"


@in_container
async def test_command_that_is_not_waited_for_is_killed_with_what_it_started() -> None:
    with spawn(SLEEP) as container:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask_exec, container, ("sh", "-c", "sleep 2000 & sleep 3000; :"))
            titles = ("sleep 1000", "sh -c sleep 2000 & sleep 3000; :", "sleep 2000", "sleep 3000")
            await trio.to_thread.run_sync(wait_for_titles, container, *titles)
            nursery.cancel_scope.cancel()

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]


@in_container
async def test_what_a_command_leaves_behind_is_killed_too() -> None:
    with spawn(SLEEP) as container:
        await ask_exec(container, ("sh", "-c", "sleep 2000 & exit 1"))

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]


@in_container
async def test_questions_leave_nothing_whenever_they_are_cancelled() -> None:
    with spawn(SLEEP) as container:
        await ask_exec(container, ("true",))
        before = len(read_descriptors())
        for checkpoints in range(8):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask_exec, container, ("sleep", "2000"))
                for _ in range(checkpoints):
                    await trio.lowlevel.checkpoint()
                nursery.cancel_scope.cancel()

        assert wait_for_titles(container, "sleep 1000") == ["sleep 1000"]
        assert len(read_descriptors()) == before


@in_container
async def test_container_that_is_gone_cannot_be_asked() -> None:
    with spawn(SLEEP) as container:
        container.kill()
        container.wait()
        before = len(read_descriptors())

        with pytest.raises(SetupError):
            await ask_exec(container, ("true",))

        assert len(read_descriptors()) == before
