"""What the kernel thinks of a container among all other processes: its CPUs, its turn, its death.

Set from outside, by who makes the container and before its init goes on: what these are worth is
measured by the rights that one has on the host, and a container has none there. The init hands them
on to all that it starts.

Source: setpriority(2), sched_setaffinity(2), proc_pid_oom_score_adj(5).
"""

import os
from _collections_abc import Callable, Iterable
from errno import EACCES, EINVAL, EPERM

from .errors import SetupError
from .handshake import receive_failure, send_failure
from .spec import ContainerSpec

_DENIED = {EACCES, EPERM}


def schedule(pid: int, spec: ContainerSpec) -> None:
    """Give a process, and so what it will start, what a spec says; the rest stays the caller's.

    Raises:
        SetupError: The kernel refused one.
    """
    for step, take in _list_orders(spec):
        take(pid, step)


def try_schedule(spec: ContainerSpec) -> None:
    """Find out whether the caller could give a process what a spec says; in a fork, which ends.

    Raises:
        SetupError: The kernel refused one.
    """
    report, remote_report = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            schedule(os.getpid(), spec)
        except SetupError as error:
            send_failure(remote_report, error)
        finally:
            os._exit(0)
    os.close(remote_report)
    refusal = receive_failure(report)
    os.close(report)
    os.waitpid(pid, 0)
    if refusal is not None:
        raise refusal


def describe_schedule(spec: ContainerSpec) -> list[str]:
    """Return a line for each thing that `schedule` does."""
    return [step for step, _ in _list_orders(spec)]


def render_cpus(cpus: Iterable[int]) -> str:
    """Return CPUs as the kernel lists them: "0-2,5"."""
    ranges = list[list[int]]()
    for cpu in sorted(set(cpus)):
        if ranges and ranges[-1][1] == cpu - 1:
            ranges[-1][1] = cpu
        else:
            ranges.append([cpu, cpu])
    return ",".join(f"{a}" if a == b else f"{a}-{b}" for a, b in ranges)


def _list_orders(spec: ContainerSpec) -> list[tuple[str, Callable[[int, str], None]]]:
    """Return what is asked for: a verb phrase, and what does it to a pid."""
    orders = list[tuple[str, Callable[[int, str], None]]]()
    cpus, nice, score = spec.cpu_affinity, spec.nice, spec.oom_score_adj
    if cpus is not None:
        step = f"run on the CPUs {render_cpus(cpus)}"
        orders.append((step, lambda pid, step: _set_affinity(pid, step, cpus)))
    if nice is not None:
        step = f"set the nice value to {nice}"
        orders.append((step, lambda pid, step: _set_nice(pid, step, nice)))
    if score is not None:
        step = f"set oom_score_adj to {score}"
        orders.append((step, lambda pid, step: _set_oom_score_adj(pid, step, score)))
    return orders


def _set_affinity(pid: int, step: str, cpus: Iterable[int]) -> None:
    wanted, before = set(cpus), os.sched_getaffinity(pid)
    try:
        os.sched_setaffinity(pid, wanted)
    except OSError as error:
        if error.errno != EINVAL:
            raise SetupError(step, error.errno or 0) from error
    # The kernel leaves out what is not there, and is content with the rest.
    missing = wanted - os.sched_getaffinity(pid)
    if missing:
        hint = f"{render_cpus(missing)} can't be had; the caller has {render_cpus(before)}"
        raise SetupError(step, EINVAL, hint=hint)


def _set_nice(pid: int, step: str, nice: int) -> None:
    try:
        os.setpriority(os.PRIO_PROCESS, pid, nice)
    except OSError as error:
        hint = ""
        if error.errno in _DENIED:
            least = os.getpriority(os.PRIO_PROCESS, pid)
            hint = f"less than the caller's {least} takes CAP_SYS_NICE, or a higher ulimit nice"
        raise SetupError(step, error.errno or 0, hint=hint) from error


def _set_oom_score_adj(pid: int, step: str, score: int) -> None:
    try:
        fd = os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % score)
        finally:
            os.close(fd)
    except OSError as error:
        hint = ""
        if error.errno in _DENIED:
            hint = "less than the caller began with takes CAP_SYS_RESOURCE on the host"
        raise SetupError(step, error.errno or 0, hint=hint) from error
