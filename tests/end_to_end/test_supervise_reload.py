"""How `mocker-supervise` follows its file."""

import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.asking import ask
from tests.end_to_end.job_texts import SLEEP, job, names
from tests.end_to_end.late_opens import open_late_opens
from tests.end_to_end.supervised import open_supervisor
from tests.requirements import requires_busybox, requires_user, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]


def test_reload_touches_only_what_has_changed(tmp_path: Path) -> None:
    same, old = job("same", SLEEP), job("old", SLEEP)

    with open_supervisor(tmp_path, same + old + job("other", SLEEP)) as run:
        run.wait_event("job.started", count=3)
        run.rewrite(same + job("other", "sleep 2000") + job("new", SLEEP))
        loaded = run.wait_event("config.loaded", count=2)
        run.wait_event("job.started", job="new")
        run.wait_event("job.started", job="other", count=2)
        run.terminate()

    assert (loaded["added"], loaded["changed"], loaded["removed"]) == (["new"], ["other"], ["old"])
    assert len(run.find("job.started", job="same")) == 1
    assert len(run.find("job.stopped", job="old")) == 1


def test_reload_with_more_replicas_keeps_those_that_run(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP, "replicas = 2")) as run:
        run.wait_event("job.started", count=2)
        run.rewrite(job("web", SLEEP, "replicas = 3"))
        run.wait_event("job.started", count=3)
        run.terminate()

    assert sorted(map(str, names(run.find("job.started")))) == ["web-1", "web-2", "web-3"]


def test_reload_of_the_same_file_changes_nothing(tmp_path: Path) -> None:
    text = job("web", SLEEP)

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.started")
        run.rewrite(text)
        loaded = run.wait_event("config.loaded", count=2)
        run.terminate()

    assert (loaded["unchanged"], "changed" in loaded) == (1, False)
    assert len(run.find("job.started")) == 1


@pytest.mark.parametrize(
    "text",
    ["garbage\0", "[jobs.web]\ncommand = []", "", f"{job('web', SLEEP)}\n[jobs.web]\n"],
    ids=["garbage", "mistake", "empty", "twice"],
)
def test_reload_of_a_file_that_cannot_be_meant_changes_nothing_and_says_why(
    tmp_path: Path, text: str
) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")
        run.rewrite(text)
        rejected = run.wait_event("config.rejected")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state", job="web")
        run.terminate()

    assert (state["state"], str(run.file) in rejected["mistakes"][0]) == ("RUNNING", True)


# Without isolation, as a filter may mean a container without IDs of its own.
TICKS = job("web", "while :; do echo tick; sleep 0.05; done", "isolate = false")


def test_disk_that_hangs_at_a_reload_holds_up_nobody(tmp_path: Path) -> None:
    with (
        open_late_opens() as disk,
        open_supervisor(tmp_path, TICKS, disk.wrapper) as run,
    ):
        run.wait_line("web | tick")
        disk.shut()
        run.rewrite(TICKS + job("new", SLEEP, "isolate = false"))
        disk.wait_caller()

        run.wait_line("web | tick", count=run.lines.count("web | tick") + 3)
        listed = ask(tmp_path, "ps", "-q")
        disk.open()
        run.wait_event("job.started", job="new")
        status = run.terminate()

    assert (listed.out, listed.status, status) == ("web\n", 0, 0)


def test_stop_does_not_wait_for_a_disk_that_hangs_at_a_reload(tmp_path: Path) -> None:
    with (
        open_late_opens() as disk,
        open_supervisor(tmp_path, TICKS, disk.wrapper) as run,
    ):
        run.wait_line("web | tick")
        disk.shut()
        run.send(signal.SIGHUP)
        disk.wait_caller()

        status = run.terminate()

    assert (status, names(run.find("job.stopped"))) == (0, ["web"])


def replace_by_link_to_itself(file: Path) -> None:
    file.unlink()
    file.symlink_to(file)


def replace_by_directory(file: Path) -> None:
    file.unlink()
    file.mkdir()


def forbid_to_read(file: Path) -> None:
    file.chmod(0)


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (Path.unlink, "No such file or directory (ENOENT)"),
        (replace_by_link_to_itself, "Too many levels of symbolic links (ELOOP)"),
        (replace_by_directory, "cannot be read: it is a directory"),
        pytest.param(forbid_to_read, "Permission denied (EACCES)", marks=requires_user),
    ],
)
def test_reload_of_a_file_that_cannot_be_read_changes_nothing_and_says_why(
    tmp_path: Path, spoil: Callable[[Path], None], reason: str
) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")
        spoil(run.file)
        run.send(signal.SIGHUP)
        rejected = run.wait_event("config.rejected")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state", job="web")
        status = run.terminate()

    (mistake,) = rejected["mistakes"]
    assert str(run.file) in mistake
    assert reason in mistake
    assert (state["state"], len(run.find("job.started")), status) == ("RUNNING", 1, 0)


@pytest.mark.parametrize("number", [signal.SIGUSR1, signal.SIGUSR2])
def test_signal_to_open_logs_anew_harms_nobody(tmp_path: Path, number: int) -> None:
    with open_supervisor(tmp_path, job("web", SLEEP)) as run:
        run.wait_event("job.started")
        run.send(number)
        run.wait_event("logs.reopened")

        assert run.terminate() == 0
