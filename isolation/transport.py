"""Specs, plans and actions as bytes, for another process of the same program; and messages.

The format is marshal's: its own bytes can be read by the same Python alone, and both sides are
forks of one process. Nothing is executed by reading it. A function goes by the names of its module
and of itself, which the other side has imported too.
"""

import _socket as socket
import marshal
import sys
from _collections_abc import Sequence

from .handshake import receive_with_fds, send_with_fds
from .limits import Limits
from .memory import Action
from .mounts import TreeSource
from .plan import Plan
from .program import Prepared
from .spec import ContainerSpec, Rlimit, Tmpfs, Volume
from .steps import Step
from .tape import Tape
from .user_mapping import IdRange, UserMapping
from .users import User

_LENGTH = 8  # bytes, big endian
_MAX_FDS = 7  # for the command, of the network, of the cgroup
_CHUNK = 2**20  # bytes


def render_spec(spec: ContainerSpec) -> bytes:
    """Return a spec as bytes."""
    fields = {name: getattr(spec, name) for name in spec.__slots__}
    fields["volumes"] = [(v.source, v.destination, v.read_only) for v in spec.volumes]
    fields["tmpfs"] = [(t.destination, t.size, t.mode) for t in spec.tmpfs]
    fields["rlimits"] = [(r.name, r.soft, r.hard) for r in spec.rlimits]
    fields["limits"] = None if spec.limits is None else _render_limits(spec.limits)
    fields["stop_signal"] = int(spec.stop_signal)
    return marshal.dumps(fields)


def parse_spec(text: bytes) -> ContainerSpec:
    """Undo `render_spec`.

    Raises:
        SpecError: It was no spec.
    """
    fields = marshal.loads(text)
    fields["volumes"] = [Volume(s, d, read_only=ro) for s, d, ro in fields["volumes"]]
    fields["tmpfs"] = [Tmpfs(*values) for values in fields["tmpfs"]]
    fields["rlimits"] = [Rlimit(*values) for values in fields["rlimits"]]
    if fields["limits"] is not None:
        fields["limits"] = Limits(**fields["limits"])
    seccomp = fields.pop("seccomp")
    spec = ContainerSpec(fields.pop("argv"), **fields)
    spec.seccomp = seccomp  # checked by the sender; an init could not import what it takes
    return spec


def render_prepared(plan: Plan, spec: bytes, stdio: Sequence[int], tape: Tape) -> bytes:
    """Return what an init has to know besides its tape, and the tape's actions.

    Args:
        plan: Of the container.
        spec: Its spec, as `render_spec` has it.
        stdio: The descriptors that the command gets, as the init has them.
        tape: What the init is to do.
    """
    mapping, user = plan.mapping, plan.user
    known: tuple[object, ...] = (
        spec,
        None if mapping is None else _render_mapping(mapping),
        [(s.path, s.recursive, s.attributes, s.must_map, s.nosuid_below) for s in plan.sources],
        [(step.action, step.path) for step in plan.steps],
        [(r.name, r.soft, r.hard) for r in plan.rlimits],
        plan.workdir,
        plan.capabilities,
        None if user is None else (user.uid, user.gid, user.groups, user.home),
        (plan.home_uid, plan.strings, plan.changed_signals, plan.filter, plan.guarded),
        tuple(stdio),
        tape.segments,
        list(map(_render_action, tape.actions)),
    )
    # What an action takes is of any type to mypy; each kind of container is sent by a test.
    return marshal.dumps(known)  # type: ignore[arg-type]


def parse_prepared(text: bytes) -> tuple[Prepared, list[Action]]:
    """Undo `render_prepared`; the plan's steps have their names alone."""
    (
        spec,
        mapping,
        sources,
        steps,
        rlimits,
        workdir,
        capabilities,
        user,
        (home_uid, strings, changed_signals, plan_filter, guarded),
        stdio,
        parts,
        actions,
    ) = marshal.loads(text)
    plan = Plan.__new__(Plan)
    plan.spec = parse_spec(spec)
    plan.mapping = None if mapping is None else _parse_mapping(*mapping)
    plan.sources = tuple(
        TreeSource(
            path,
            recursive=recursive,
            attributes=attributes,
            must_map=must_map,
            nosuid_below=nosuid_below,
        )
        for path, recursive, attributes, must_map, nosuid_below in sources
    )
    plan.steps = tuple(Step(*names) for names in steps)
    plan.rlimits = tuple(Rlimit(*limit) for limit in rlimits)
    plan.workdir, plan.capabilities, plan.notes = workdir, capabilities, ()
    plan.user = None if user is None else User(*user)
    plan.home_uid, plan.strings, plan.changed_signals = home_uid, strings, changed_signals
    plan.filter = plan_filter
    plan.guarded, plan.shares_applets = guarded, False
    return Prepared(plan, stdio, parts), list(map(_parse_action, actions))


def send_message(peer: socket.socket, text: bytes, fds: Sequence[int] = ()) -> None:
    """Send bytes and descriptors by a stream."""
    head = len(text).to_bytes(_LENGTH, "big")
    if fds:
        send_with_fds(peer, head, fds)
    else:
        peer.sendall(head)
    peer.sendall(text)


def receive_message(peer: socket.socket) -> tuple[bytes, list[int]]:
    """Return what `send_message` has sent, once it is there.

    Raises:
        EOFError: The other end is gone.
    """
    head, fds = receive_with_fds(peer, _LENGTH, _MAX_FDS)
    size = int.from_bytes(_receive_rest(peer, head, _LENGTH), "big")
    return _receive_rest(peer, b"", size), fds


def _receive_rest(peer: socket.socket, start: bytes, size: int) -> bytes:
    chunks, missing = [start], size - len(start)
    while missing:
        chunk = peer.recv(min(missing, _CHUNK))
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        missing -= len(chunk)
    return b"".join(chunks)


def _render_limits(limits: Limits) -> dict[str, float | None]:
    return {name: getattr(limits, name) for name in limits.__slots__}


def _render_mapping(mapping: UserMapping) -> tuple[object, ...]:
    uids, gids = (
        tuple((r.inside, r.outside, r.count) for r in ranges)
        for ranges in (mapping.uids, mapping.gids)
    )
    return uids, gids, mapping.deny_setgroups


def _parse_mapping(
    uids: Sequence[tuple[int, int, int]], gids: Sequence[tuple[int, int, int]], deny: bool
) -> UserMapping:
    ranges = ([IdRange(*numbers) for numbers in side] for side in (uids, gids))
    return UserMapping(*ranges, deny_setgroups=deny)


def _render_action(action: Action) -> tuple[str, str, tuple[object, ...]]:
    function = action.function
    return function.__module__, function.__qualname__, action.arguments


def _parse_action(rendered: tuple[str, str, tuple[object, ...]]) -> Action:
    module, names, arguments = rendered
    found = sys.modules[module]
    for name in names.split("."):
        found = getattr(found, name)
    return Action(found, arguments)  # type: ignore[arg-type]
