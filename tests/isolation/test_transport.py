import pytest
from hypothesis import given

from mocker.isolation import ContainerSpec, Limits, Tmpfs, Volume
from mocker.isolation.memory import Action
from mocker.isolation.plan import Plan, make_plan
from mocker.isolation.program import make_program
from mocker.isolation.steps import Setup
from mocker.isolation.transport import parse_prepared, parse_spec, render_prepared, render_spec
from tests.requirements import requires_busybox
from tests.specs import specs

STDIO = (7, 8, 9)


def values(spec: ContainerSpec) -> dict[str, object]:
    """Return what a spec says, in values that can be compared."""
    found = {name: getattr(spec, name) for name in spec.__slots__}
    for name in ("volumes", "tmpfs", "rlimits"):
        found[name] = [[getattr(part, n) for n in part.__slots__] for part in found[name]]
    if spec.limits is not None:
        found["limits"] = [getattr(spec.limits, name) for name in spec.limits.__slots__]
    return found


def send(spec: ContainerSpec) -> ContainerSpec:
    """Return what a spec is once it was on its way to the server."""
    return parse_spec(render_spec(spec))


@pytest.mark.slow
@given(spec=specs())
def test_spec_arrives_as_it_was_sent(spec: ContainerSpec) -> None:
    assert values(send(spec)) == values(spec)


def test_bytes_that_are_no_text_arrive_as_they_were_sent() -> None:
    spec = ContainerSpec(["\udcff"], env={"\udcfe": "\udcfd"}, rootfs="/\udcfc")

    assert values(send(spec)) == values(spec)


def carry(plan: Plan) -> tuple[Plan, list[Action], list[Action]]:
    """Return what a plan is once it was on its way, and its tape's actions before and after."""
    tape = make_program(plan, 5, STDIO)
    prepared, actions = parse_prepared(render_prepared(plan, render_spec(plan.spec), STDIO, tape))
    assert prepared.stdio == STDIO
    assert list(map(tuple, prepared.parts)) == tape.segments
    return prepared.plan, tape.actions, actions


@requires_busybox
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"user": "nobody:0", "workdir": "/srv"},
        {"tmpfs": [Tmpfs("/data", 4096, 0o700)], "volumes": [Volume("/etc", "/x")]},
        {"rootfs": "/usr", "ready_fd": 3, "notify": "x"},
        {"limits": Limits(memory=2**28, cpus=1.5)},
        {"seccomp": "unconfined"},
        {"seccomp": '{"defaultAction": "SCMP_ACT_LOG"}'},
    ],
    ids=["plain", "user", "mounts", "directory", "limits", "unconfined", "profile"],
)
def test_plan_arrives_as_it_was_sent(fields: dict[str, object]) -> None:
    plan = make_plan(ContainerSpec(["true"], **fields))  # type: ignore[arg-type]

    arrived, _, _ = carry(plan)

    assert values(arrived.spec) == values(plan.spec)
    for name in ("workdir", "home_uid", "strings", "changed_signals", "filter", "guarded"):
        assert getattr(arrived, name) == getattr(plan, name)
    assert list(map(str, arrived.steps)) == list(map(str, plan.steps))
    assert [source.path for source in arrived.sources] == [s.path for s in plan.sources]
    assert plan.mapping is not None
    assert arrived.mapping is not None
    assert (arrived.mapping.uids, arrived.mapping.gids) == (plan.mapping.uids, plan.mapping.gids)
    assert (arrived.user is None) == (plan.user is None)


@requires_busybox
def test_actions_arrive_as_the_same_functions() -> None:
    spec = ContainerSpec(["true"], tmpfs=[Tmpfs("/data")], volumes=[Volume("/etc", "/x")])

    _, sent, arrived = carry(make_plan(spec))

    assert Setup.attach_tmpfs in {action.function for action in sent}
    assert [(a.function, a.arguments) for a in arrived] == [(a.function, a.arguments) for a in sent]
