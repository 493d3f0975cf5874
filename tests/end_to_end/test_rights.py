"""What a command may do, and when its turn is: by options, by keys of jobs, and by `exec`."""

import os
from pathlib import Path

import pytest

from mocker.isolation.capabilities import DEFAULT_SET, mask_of
from tests.conftest import Mocker
from tests.end_to_end.controlled import open_controlled
from tests.end_to_end.processes import wait_until
from tests.end_to_end.supervised import supervise
from tests.requirements import (
    requires_busybox,
    requires_root,
    requires_user,
    requires_user_namespaces,
)

pytestmark = [pytest.mark.end_to_end, requires_busybox, requires_user_namespaces]

CPU = min(os.sched_getaffinity(0))
SHOW = (
    "grep -E '^(CapEff|CapBnd|NoNewPrivs|Cpus_allowed_list):' /proc/self/status; umask; "
    "cut -d' ' -f19 /proc/self/stat; cat /proc/self/oom_score_adj"
)
KEYS = f"""
cap_drop = ["all"]
cap_add = ["cap_kill"]
umask = "027"
nice = 7
oom_score_adj = 800
cpu_affinity = [{CPU}]
"""
SHOWN = f"CapEff: {1 << 5:016x} CapBnd: {1 << 5:016x} NoNewPrivs: 1 Cpus_allowed_list: {CPU} "
TURN = "0027 7 800"


def job(keys: str, command: str = SHOW) -> str:
    return f'[jobs.web]\ntype = "oneshot"\ncommand = ["sh", "-c", "{command}"]\n{keys}'


def read(lines: list[str]) -> str:
    """Return what a job has printed, as words in one line."""
    return " ".join(" ".join(line.removeprefix("web | ") for line in lines).split())


def test_command_has_what_the_options_say(mocker: Mocker) -> None:
    rights = ["--cap-drop", "all", "--cap-add", "kill", "--umask", "027"]
    turn = ["--nice", "7", "--oom-score-adj", "800", "--cpu-affinity", str(CPU)]

    result = mocker("run", *rights, *turn, "sh", "-c", SHOW)

    assert (" ".join(result.stdout.split()), result.stderr) == (SHOWN + TURN, "")


def test_command_has_dockers_capabilities_by_default(mocker: Mocker) -> None:
    result = mocker("run", "grep", "CapEff", "/proc/self/status")

    assert result.stdout.split() == ["CapEff:", f"{mask_of(DEFAULT_SET):016x}"]


def test_job_has_what_its_keys_say(tmp_path: Path) -> None:
    status, run = supervise(tmp_path, job(KEYS))

    assert (status, read(run.lines)) == (0, SHOWN + TURN)


@pytest.mark.parametrize(("keys", "bit"), [("", 1), ("allow_new_privs = true", 0)])
def test_new_privileges_are_for_jobs_that_may_have_them(
    tmp_path: Path, keys: str, bit: int
) -> None:
    show = "grep NoNewPrivs /proc/self/status"
    text = job(keys, f"{show}; sleep 1000").replace("oneshot", "service")

    with open_controlled(tmp_path, text) as run:
        run.run.wait_event("job.started")
        run.run.wait_line(f"web | NoNewPrivs:\t{bit}")
        result = run.mocker("exec", "web", *show.split())

    assert (result.stdout, result.stderr) == (f"NoNewPrivs:\t{bit}\n", "")


@requires_root  # nobody else may look into an init, its own user neither
def test_init_of_a_job_has_one_descriptor(tmp_path: Path) -> None:
    with open_controlled(tmp_path, job("", "sleep 1000").replace("oneshot", "service")) as run:
        init = run.run.wait_event("job.started")["pid"]
        run.mocker("exec", "web", "true")

        assert wait_until(lambda: len(list(Path(f"/proc/{init}/fd").iterdir())) == 1)


def test_job_that_is_not_isolated_has_its_turn(tmp_path: Path) -> None:
    keys = "".join(f"{line}\n" for line in KEYS.splitlines() if not line.startswith("cap_"))
    command = SHOW.replace("CapEff|CapBnd|NoNewPrivs|", "")

    status, run = supervise(tmp_path, job(f"isolate = false\n{keys}", command))

    assert (status, read(run.lines)) == (0, f"Cpus_allowed_list: {CPU} {TURN}")


def test_what_is_executed_in_a_job_has_no_more_than_the_job(tmp_path: Path) -> None:
    keys = KEYS + 'ready = { log = "up" }'
    with open_controlled(
        tmp_path, job(keys, "echo up; sleep 1000").replace("oneshot", "service")
    ) as run:
        run.run.wait_event("job.ready")

        result = run.mocker("exec", "web", "sh", "-c", SHOW)

    assert (" ".join(result.stdout.split()), result.stderr) == (SHOWN + TURN, "")


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--cpu-affinity", "8191"],
            "cannot run on the CPUs 8191: Invalid argument (EINVAL); 8191 can't be had; "
            "the caller has ",
        ),
        (
            ["--ulimit", "core=0", "--cpu-affinity", f"{CPU},8190-8191"],
            f"cannot run on the CPUs {CPU},8190-8191: Invalid argument (EINVAL); "
            "8190-8191 can't be had; the caller has ",
        ),
    ],
)
def test_what_the_host_has_not_is_refused(
    mocker: Mocker, options: list[str], sentence: str
) -> None:
    result = mocker("run", *options, "true")

    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr.startswith(f"mocker run: {sentence}")


@requires_user
@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            ["--nice", "-20"],
            "cannot set the nice value to -20: Permission denied (EACCES); "
            f"less than the caller's {os.getpriority(os.PRIO_PROCESS, 0)} takes CAP_SYS_NICE, "
            "or a higher ulimit nice",
        ),
        (
            ["--oom-score-adj", "-1000"],
            "cannot set oom_score_adj to -1000: Permission denied (EACCES); "
            "less than the caller began with takes CAP_SYS_RESOURCE on the host",
        ),
    ],
)
def test_what_the_caller_may_not_give_is_refused(
    mocker: Mocker, options: list[str], sentence: str
) -> None:
    result = mocker("run", *options, "true")

    assert (result.returncode, result.stdout) == (125, "")
    assert result.stderr == f"mocker run: {sentence}\n"


@requires_root
def test_root_gives_a_turn_that_comes_first(mocker: Mocker) -> None:
    result = mocker("run", "--nice", "-5", "cut", "-d ", "-f19", "/proc/self/stat")

    assert (result.stdout, result.stderr) == ("-5\n", "")


def test_job_whose_turn_can_not_be_had_fails_and_says_why(tmp_path: Path) -> None:
    status, run = supervise(tmp_path, job("cpu_affinity = [8191]\nrestart = 'never'"))

    (failed,) = run.find("job.start_failed")
    assert (status, run.lines) == (1, [])
    assert failed["reason"].startswith("cannot run on the CPUs 8191: Invalid argument (EINVAL); ")
