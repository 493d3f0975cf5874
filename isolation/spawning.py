"""A container from a program's own process: made, and waited for.

Works from any program with one thread; who has more asks a `forkserver`.
"""

from .container import Container
from .errors import SetupError
from .exit_status import ExitStatus
from .hints import explain
from .launch import launch
from .limits import Limits
from .plan import make_plan
from .spec import ContainerSpec

TYPE_CHECKING = False  # known to type checkers; only who wants limits loads it
if TYPE_CHECKING:
    from .cgroups import Cgroup


def spawn(spec: ContainerSpec, *, stdin: int = 0, stdout: int = 1, stderr: int = 2) -> Container:
    """Make a container, and return when its command is executed.

    Args:
        spec: What to make.
        stdin: A descriptor of the caller's, which the command gets itself: nothing is copied.
        stdout: Likewise.
        stderr: Likewise.

    Raises:
        SetupError: A step was refused; nothing is left of the container.
        CommandError: The command could not be executed; nothing is left of the container.

    Source: clone(2), user_namespaces(7), pivot_root(2); each step's own is in the module of it.
    """
    cgroup = None
    try:
        plan = make_plan(spec)
        if spec.limits is not None:
            cgroup = _make_cgroup(spec.limits)
        fd = -1 if cgroup is None else cgroup.fd
        launched = launch(plan, (stdin, stdout, stderr), cgroup=fd)
    except BaseException as error:
        if cgroup is not None:
            cgroup.remove()
        if isinstance(error, SetupError):
            raise explain(error) from None
        raise
    container = Container(spec, launched, cgroup)
    try:
        container.wait_started()
    except BaseException:
        container.close()
        raise
    return container


def run(
    spec: ContainerSpec,
    *,
    stdin: int = 0,
    stdout: int = 1,
    stderr: int = 2,
    timeout: float | None = None,
) -> ExitStatus:
    """Make a container, wait until nothing of it is left, and return how its command ended.

    Args:
        spec: What to make.
        stdin: A descriptor of the caller's for the command.
        stdout: Likewise.
        stderr: Likewise.
        timeout: Seconds after which it is stopped, see `Container.stop`.

    Raises:
        TimeoutError: It had to be stopped; nothing is left of it.
        SetupError, CommandError: As `spawn`.
    """
    with spawn(spec, stdin=stdin, stdout=stdout, stderr=stderr) as container:
        try:
            return container.wait(timeout)
        except TimeoutError:
            container.stop()
            raise


def _make_cgroup(limits: Limits) -> "Cgroup":
    from .delegation import make_cgroup

    return make_cgroup(limits)
