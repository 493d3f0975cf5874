"""What is taken from a process is looked at in `test_privileges`; here is in which order."""

import os

import pytest

from mocker.isolation import SetupError, process_calls
from mocker.isolation.confinement import confine
from mocker.isolation.plan import Plan, make_plan
from mocker.isolation.tape import perform
from mocker.isolation.users import User
from tests.beside import SLEEP, run_script, running
from tests.containers import in_container, make_spec, run_captured, script
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.performed import read_status
from tests.requirements import requires_busybox, requires_subordinate_ids, requires_user_namespaces

pytestmark = requires_busybox

NOBODY = User(65534, 65534, (), "/")
ROOT = User(0, 0, (), "/")


def confine_fully(plan: Plan, user: User | None, workdir: str = "/") -> None:
    for calls in confine(plan, user, workdir, needed=True):
        perform(calls)


@requires_user_namespaces
@requires_subordinate_ids
def test_user_and_groups_are_given_up_before_the_right_to_change_them(
    in_new_namespaces: InNewNamespaces,
) -> None:
    plan = make_plan(make_spec(cap_drop=["all"]))

    def act() -> tuple[list[str], tuple[int, ...], list[int]]:
        confine_fully(plan, NOBODY)
        return read_status("CapEff", "CapBnd"), os.getresuid(), os.getgroups()

    assert in_new_namespaces(act) == ([f"{0:016x}"] * 2, (65534,) * 3, [])


@in_container
@requires_subordinate_ids
def test_working_directory_is_gone_to_as_the_user() -> None:
    with running(SLEEP) as container:
        run_script(container, "mkdir -p -m 700 /srv/own")
        with pytest.raises(SetupError, match="cannot change to directory /srv/own: Permission"):
            run_script(container, "true", user="nobody", workdir="/srv/own")
        assert run_script(container, "pwd", workdir="/srv/own").text == "/srv/own\n"


def test_what_a_change_of_user_would_undo_is_done_after_it() -> None:
    plan, again = make_plan(make_spec()), [process_calls.setsid()]

    before, after = (
        confine(plan, ROOT, "/", needed=False, after_user=calls) for calls in ([], again)
    )

    place = after.index(again)
    assert [*after[:place], *after[place + 1 :]] == before
    assert after[place - 1][-1][1] == (0, 0, 0)  # the user, real, effective and saved


def test_all_that_is_the_same_for_one_container_after_the_other_is_laid_out_once() -> None:
    plans = [make_plan(make_spec(user="root")) for _ in range(2)]

    first, second = (confine(plan, ROOT, "/", needed=False) for plan in plans)

    assert all(a is b for a, b in zip(first, second, strict=True))


def test_process_without_a_container_goes_on_with_what_it_has() -> None:
    plan = make_plan(make_spec(isolate=False, rootfs="host", network="host"))
    keys = ("CapPrm", "CapEff", "CapBnd", "NoNewPrivs", "Uid")

    def act() -> tuple[list[str], list[str]]:
        before = read_status(*keys)
        confine_fully(plan, None)
        return before, read_status(*keys)

    before, after = run_in_child(act)

    assert before == after


@in_container
def test_new_files_get_the_permissions_that_the_umask_leaves() -> None:
    with running(make_spec(argv=["sleep", "1000"], umask=0o27)) as container:
        beside = run_script(container, "touch file; stat -c %a file; umask").text
    command = run_captured(script("touch file; stat -c %a file; umask", umask=0o27)).stdout

    assert command == beside == "640\n0027\n"


def test_filter_is_loaded_last_or_first_where_it_takes_a_capability() -> None:
    late, early = (
        make_plan(make_spec(user="root", allow_new_privs=allowed)) for allowed in (False, True)
    )
    filtering = tuple(process_calls.load_filter(late.filter))

    segments = confine(late, ROOT, "/", needed=False), confine(early, ROOT, "/", needed=False)

    assert segments[0][-1] == filtering
    assert segments[1][0] == filtering
    assert [calls.count(filtering) for calls in segments] == [1, 1]


@pytest.mark.parametrize("allowed", [False, True])
def test_process_without_a_container_has_a_keyring_before_it_may_be_denied_one(
    allowed: bool,
) -> None:
    spec = make_spec(
        isolate=False, rootfs="host", network="host", seccomp="default", allow_new_privs=allowed
    )
    plan = make_plan(spec)
    keyring, filtering = (
        tuple(process_calls.join_session_keyring()),
        tuple(process_calls.load_filter(plan.filter)),
    )

    segments = confine(plan, None, "/", needed=False)

    assert segments.index(keyring) < segments.index(filtering)
    assert segments.count(keyring) == 1


def test_process_without_a_container_has_a_filter_if_it_was_asked_for() -> None:
    plan = make_plan(make_spec(isolate=False, rootfs="host", network="host", seccomp="default"))

    def act() -> list[str]:
        confine_fully(plan, None)
        return read_status("NoNewPrivs", "Seccomp")

    assert run_in_child(act) == ["1", "2"]
