"""Whether the jobs of a file could start on this host: looked at, nothing started.

What is found is noted as the mistakes of the file are, so that both are told in one go.
"""

import os
from errno import EACCES
from stat import S_ISBLK, S_ISCHR, S_ISDIR
from typing import Any

from mocker.isolation import ContainerSpec, IsolationError, SetupError, describe
from mocker.isolation.busybox import Busybox, find_busybox
from mocker.isolation.cgroups import find_weight_obstacle
from mocker.isolation.delegation import find_controllers
from mocker.isolation.errors import render_reason
from mocker.isolation.limits import CONTROLLERS
from mocker.isolation.scheduling import try_schedule

from .config import ContainerConfig, JobConfig, SupervisorConfig
from .container_view import ContainerView, NotThereError
from .executables import check_command
from .mistakes import MistakeError, Mistakes, Place, find_job_place, suggest

_OWN_DESCRIPTORS = ("/dev/std", "/dev/fd/", "/proc/self/fd/")  # of who writes


def check_jobs(config: SupervisorConfig, mistakes: Mistakes) -> None:
    """Note all that would keep a job from starting."""
    # Replicas differ in nothing that is looked at.
    for job in {job.group: job for job in config.jobs.values()}.values():
        _Preflight(job, mistakes).check()


class _Preflight:
    """One job, and what was found so far."""

    def __init__(self, job: JobConfig, mistakes: Mistakes) -> None:
        self._job, self._mistakes = job, mistakes
        self._is_clear = True

    def check(self) -> None:
        self._check_volumes()
        self._check_writable()
        self._check_stdin()
        self._check_log_files()
        self._check_limits()
        self._check_schedule()
        container = self._job.container
        try:
            busybox = _find_root(container)
        except (MistakeError, IsolationError) as error:
            self._refuse("rootfs", str(error))
            return
        view = ContainerView(container, busybox)
        self._check_commands(view)
        self._check_user(view)
        self._check_workdir(view)
        if self._is_clear and (container.isolate or container.landlock):
            try:
                describe(self._job.make_spec())
            except IsolationError as error:
                key = "userns" if container.userns == "host" else "rootfs"
                self._refuse(key if container.isolate else "landlock", str(error))

    def _refuse(self, key: str, text: str, *parts: str | int) -> None:
        self._place(key).at(*parts).refuse(text)
        self._is_clear = False

    def _place(self, key: str) -> Place:
        return find_job_place(self._mistakes, self._job.group, key)

    def _check_volumes(self) -> None:
        for index, (source, _, _) in enumerate(self._job.container.volumes):
            try:
                mode = _look(source)
            except MistakeError as error:
                self._refuse("volumes", str(error), index)
            else:
                if S_ISCHR(mode) or S_ISBLK(mode):
                    text = f"cannot show {source!r}: a container has no device of the host"
                    self._refuse("volumes", text, index)

    def _check_writable(self) -> None:
        for index, path in enumerate(self._job.container.writable or ()):
            try:
                _look(path)
            except MistakeError as error:
                self._refuse("writable", str(error), index)

    def _check_stdin(self) -> None:
        path = self._job.stdin
        if path is None:
            return
        try:
            is_directory = S_ISDIR(_look(path))
        except MistakeError as error:
            self._refuse("stdin", str(error))
            return
        if is_directory or not os.access(path, os.R_OK):
            reason = ": it is a directory" if is_directory else render_reason(EACCES)
            self._refuse("stdin", f"cannot read {path!r}{reason}")

    def _check_log_files(self) -> None:
        for channel, sinks in self._job.channels.items():
            for path in {sink.path for sink in sinks if sink.kind == "file"}:
                try:
                    _check_log_file(path)
                except MistakeError as error:
                    self._refuse(channel, str(error))

    def _check_limits(self) -> None:
        wanted = {
            key: controller
            for key, controller in CONTROLLERS.items()
            if getattr(self._job.container, key) is not None
        }
        if not wanted:
            return
        try:
            place, controllers = find_controllers()
        except SetupError as error:
            self._refuse(next(iter(wanted)), str(error))
            return
        for key, controller in wanted.items():
            if controller not in controllers:
                text = f"cannot be limited in {place}, without the controller {controller!r}"
                self._refuse(key, text)
        weight = self._job.container.io_weight
        if (
            weight is not None
            and "io" in controllers
            and (obstacle := find_weight_obstacle(weight))
        ):
            self._refuse("io_weight", f"cannot be {weight}; {obstacle}")

    def _check_schedule(self) -> None:
        for key in ("nice", "oom_score_adj", "cpu_affinity"):
            fields: dict[str, Any] = {key: getattr(self._job.container, key)}
            if fields[key] is None:
                continue
            try:
                try_schedule(ContainerSpec(["true"], **fields))
            except SetupError as error:
                self._refuse(key, str(error))

    def _check_commands(self, view: ContainerView) -> None:
        commands: dict[tuple[str, ...], tuple[str, ...]] = {("command",): self._job.container.argv}
        for key, probe in (("ready", self._job.ready), ("alive", self._job.alive)):
            if probe is not None and isinstance(probe.target, tuple):
                commands[key, "exec"] = probe.target
        for (key, *parts), argv in commands.items():
            try:
                check_command(view, self._job.container, argv[0])
            except MistakeError as error:
                self._refuse(key, str(error), *parts)

    def _check_user(self, view: ContainerView) -> None:
        user, _, group = (self._job.container.user or "").partition(":")
        for name, path, what in ((user, "/etc/passwd", "user"), (group, "/etc/group", "group")):
            known = {line.partition(":")[0] for line in view.read(path).splitlines()} - {""}
            if name and not name.isdecimal() and name not in known:
                near = suggest(name, known)
                self._refuse("user", f"there is no {what} {name!r} in the container's {path}{near}")

    def _check_workdir(self, view: ContainerView) -> None:
        workdir = self._job.container.workdir
        if workdir is None:
            return
        try:
            mode = view.find(workdir).mode
        except NotThereError as error:
            if not self._job.container.isolate:  # elsewhere it is made
                self._refuse("workdir", f"cannot change to {workdir!r}: {error}")
        else:
            if mode and not S_ISDIR(mode):
                self._refuse("workdir", f"cannot change to {workdir!r}: it is not a directory")


def _find_root(container: ContainerConfig) -> Busybox | None:
    """Return the busybox of a root that needs one.

    Raises:
        MistakeError: The directory is none.
        SetupError: There is no busybox.
    """
    if container.rootfs == "busybox":
        return find_busybox()
    if container.rootfs != "host" and not S_ISDIR(_look(container.rootfs)):
        raise MistakeError(f"cannot use {container.rootfs!r} as rootfs: it is not a directory")
    return None


def _check_log_file(path: str) -> None:
    """Raise MistakeError if a log file could not be written; its directory may be missing."""
    if path.startswith(_OWN_DESCRIPTORS):
        return
    if os.path.lexists(path):
        if S_ISDIR(_look(path)):
            raise MistakeError(f"cannot write to {path!r}: it is a directory")
        place = path
    else:
        place = os.path.dirname(path)
        if not os.path.lexists(place):
            place = os.path.dirname(place)
        if not S_ISDIR(_look(place)):
            raise MistakeError(f"cannot write to {path!r}: {place!r} is not a directory")
    if not os.access(place, os.W_OK):
        what = "it" if place == path else repr(place)
        raise MistakeError(f"cannot write to {path!r}: {what} is not writable")


def _look(path: str) -> int:
    """Return the mode of a file of the host, or raise MistakeError."""
    try:
        return os.stat(path).st_mode
    except OSError as error:
        raise MistakeError(f"cannot find {path!r}{render_reason(error.errno or 0)}") from None
