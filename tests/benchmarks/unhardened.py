"""mocker without those walls of its hardening that no option takes away, to tell what they cost.

    python -c 'from tests.benchmarks.unhardened import run; run()' run [OPTIONS] COMMAND [ARG...]

is `mocker run` without masked and read-only paths, without the second user, mount and UTS
namespace, in which a command has no rights over the mounts and the name of the first, without a
session keyring of the command's own, without the limit of core dumps, and without a look for
mocker's own program. It is for benchmarks alone: what is left keeps nobody in. It imports nothing
that `mocker run` does not.
"""

from _collections_abc import Callable

from mocker.isolation import devices, plan, program
from mocker.isolation.privileges import clamp_rlimits
from mocker.isolation.process_calls import join_session_keyring
from mocker.isolation.steps import Step
from mocker.isolation.tape import Call
from mocker.isolation.user_mapping import UserMapping
from mocker.supervisor.cli import main

_begin, _release, _plan = program._begin, program.release, devices._plan
_prepared: dict[tuple[bool, bool, bool], tuple[list[Step], list[Step]]] = {}


def take_walls_down() -> Callable[[], None]:
    """Plan containers without these walls from now on, and return what puts them up again.

    A fork server that is started meanwhile goes on like that.
    """
    without = [
        (devices, "_plan", _plan_without_masks),
        (devices, "_prepared", _prepared),  # what was planned is used again
        (program, "inner_namespace_flags", lambda _: 0),
        (program, "release", _release_without_maps),
        (program, "_begin", _begin_without_keyring),
        (plan, "plan_rlimits", lambda spec: clamp_rlimits(spec.rlimits)),
        (plan, "find_own_program", lambda _: None),
    ]
    before = [(module, name, getattr(module, name)) for module, name, _ in without]
    for each in without:
        setattr(*each)

    def put_up() -> None:
        for each in before:
            setattr(*each)

    return put_up


def _begin_without_keyring(mapping: UserMapping | None, isolate: bool) -> list[Call]:
    keyring = join_session_keyring()
    return [call for call in _begin(mapping, isolate) if call not in keyring]


def _release_without_maps(_: UserMapping | None, control: int, kept: int = -1) -> list[Call]:
    return _release(None, control, kept)


def _plan_without_masks(*key: bool) -> tuple[list[Step], list[Step]]:
    opening, closing = _plan(*key)
    others = [step for step in closing if not step.action.startswith(("forbid writing", "hide "))]
    if len(others) != len(closing) - 2:
        raise AssertionError("the masks are not where they were")
    return opening, others


def run() -> None:
    """Be `mocker`."""
    take_walls_down()
    main()
