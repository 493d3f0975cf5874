import os
import pwd
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import SetupError
from mocker.isolation.user_mapping import (
    IdRange,
    UserMapping,
    _granted_after_self,
    _pick_root_range,
    find_helpers,
    plan_user_mapping,
    read_subordinate_ids,
    render_id_map,
    write_user_mapping,
)
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.requirements import (
    requires_root,
    requires_subordinate_ids,
    requires_user,
    requires_user_namespaces,
)

NO_ID = 2**32 - 1
PAGE = os.sysconf("SC_PAGE_SIZE")

ids = st.one_of(st.integers(0, 40), st.integers(0, 2**33))
small_ranges = st.builds(IdRange, st.integers(0, 12), st.integers(0, 12), st.integers(0, 4))
subid_lines = st.one_of(
    st.builds("{}:{}:{}".format, st.sampled_from([str(os.geteuid()), "other"]), ids, ids),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=20),
)


@st.composite
def disjoint_ranges(draw: st.DrawFn) -> list[IdRange]:
    """Return ranges that do not overlap, in any order on both sides."""
    counts = draw(st.lists(st.integers(1, 10**6), max_size=20))
    gaps = draw(st.lists(st.integers(0, 1000), min_size=len(counts), max_size=len(counts)))
    starts = list(accumulate((a + b for a, b in zip(counts, gaps, strict=True)), initial=0))
    inside, outside = draw(st.permutations(range(len(counts)))), starts
    # On the other side the same ranges follow one another in another order.
    firsts = dict(
        zip(inside, accumulate((counts[i] for i in inside), initial=draw(ids) % 1000), strict=False)
    )
    ranges = [IdRange(firsts[i], outside[i], counts[i]) for i in range(len(counts))]
    return draw(st.permutations(ranges))


@contextmanager
def unmapped_process() -> Iterator[int]:
    """Keep a process for the length of a block in a user namespace that has no IDs yet."""
    with subprocess.Popen(
        ["unshare", "--user", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(b"x")
        process.stdin.flush()
        process.stdout.read(1)  # it executes cat, so it has left the old namespace
        yield process.pid
        process.stdin.close()


def parse_id_map(text: str) -> list[IdRange]:
    return [IdRange(*map(int, line.split())) for line in text.splitlines()]


def overlap(firsts: Sequence[tuple[int, int]]) -> bool:
    """Tell by brute force whether any ID is in two ranges."""
    every = [number for first, count in firsts for number in range(first, first + count)]
    return len(every) != len(set(every))


def sides(ranges: Sequence[IdRange]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    return [(r.inside, r.count) for r in ranges], [(r.outside, r.count) for r in ranges]


@pytest.mark.slow
@given(ranges=disjoint_ranges())
def test_rendered_map_reads_as_the_ranges_it_was_made_of(ranges: list[IdRange]) -> None:
    assert parse_id_map(render_id_map(ranges)) == ranges


@given(ranges=st.lists(small_ranges, max_size=4))
def test_map_is_refused_just_if_an_id_is_in_two_ranges_or_a_range_is_empty(
    ranges: list[IdRange],
) -> None:
    inside, outside = sides(ranges)
    wrong = overlap(inside) or overlap(outside) or any(r.count == 0 for r in ranges)

    try:
        render_id_map(ranges)
        refused = False
    except ValueError:
        refused = True

    assert refused == wrong


def test_map_has_at_most_340_ranges() -> None:
    ranges = [IdRange(n, n, 1) for n in range(341)]

    assert parse_id_map(render_id_map(ranges[:340])) == ranges[:340]
    with pytest.raises(ValueError, match="at most 340 ranges, not 341"):
        render_id_map(ranges)


def test_map_is_shorter_than_a_page_because_the_kernel_takes_no_longer_write() -> None:
    with pytest.raises(ValueError, match="bytes"):
        render_id_map([IdRange(10**9 + 2 * n, 10**9 + 2 * n, 1) for n in range(PAGE // 20)])


@pytest.mark.parametrize("outside", [NO_ID, NO_ID - 1])
def test_id_that_means_no_id_is_in_no_map(outside: int) -> None:
    assert render_id_map([IdRange(0, NO_ID - 1, 1)]) == f"0 {NO_ID - 1} 1\n"

    with pytest.raises(ValueError, match="32 bits"):
        render_id_map([IdRange(0, outside, NO_ID - outside + 1)])


@requires_root
@requires_user_namespaces
def test_kernel_takes_340_ranges() -> None:
    mapping = UserMapping(
        [IdRange(n, n + 100, 1) for n in range(340)], [IdRange(n, n + 100, 1) for n in range(340)]
    )

    with unmapped_process() as pid:
        write_user_mapping(pid, mapping)
        taken = Path(f"/proc/{pid}/uid_map").read_text()

    assert parse_id_map(taken) == list(mapping.uids)


def test_subordinate_ids_are_those_of_the_names_asked_for(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text("ann:100000:65536\nbob:200000:1000\n1001:300000:5\nann:400000:1\n")

    found = read_subordinate_ids(str(table), ["ann", "1001"])

    assert found == [(100000, 65536), (300000, 5), (400000, 1)]


@pytest.mark.parametrize(
    "line",
    [
        "",
        "# ann:1:2",
        "ann",
        "ann:1",
        "ann:1:",
        "ann::2",
        "ann:1:0",
        "ann:-1:2",
        "ann:1:2:3",
        "ann:one:two",
        "ann: 1:2",
        "ann:0x1:2",
        f"ann:{'9' * 5000}:2",
        f"ann:1:{'9' * 5000}",
        "\udcff\udcfe:1:2",
        "\0",
    ],
)
def test_line_that_is_none_is_passed_over(tmp_path: Path, line: str) -> None:
    table = tmp_path / "subuid"
    table.write_bytes(f"{line}\nann:7:8\n".encode(errors="surrogateescape"))

    assert read_subordinate_ids(str(table), ["ann"]) == [(7, 8)]


def test_last_line_needs_no_newline(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text("ann:7:8")

    assert read_subordinate_ids(str(table), ["ann"]) == [(7, 8)]


def test_missing_table_grants_nothing(tmp_path: Path) -> None:
    assert read_subordinate_ids(str(tmp_path / "subuid"), ["ann"]) == []


@pytest.mark.slow
@given(lines=st.lists(subid_lines, max_size=30), own=st.integers(0, 50))
def test_whatever_the_table_says_the_map_of_a_user_can_be_written(
    tmp_path_factory: pytest.TempPathFactory, lines: list[str], own: int
) -> None:
    table = tmp_path_factory.getbasetemp() / "subuid"
    table.write_text("\n".join(lines))

    ranges = _granted_after_self(str(table), own)

    assert ranges[0] == IdRange(0, own, 1)
    assert parse_id_map(render_id_map(ranges)) == ranges


def test_grants_follow_the_users_own_id_without_a_gap(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text(f"{os.geteuid()}:100000:1000\n{os.geteuid()}:300000:50\n")

    ranges = _granted_after_self(str(table), 7)

    assert ranges == [IdRange(0, 7, 1), IdRange(1, 100000, 1000), IdRange(1001, 300000, 50)]


def test_grant_that_holds_the_users_own_id_is_left_out(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text(f"{os.geteuid()}:0:50\n{os.geteuid()}:300000:50\n")

    ranges = _granted_after_self(str(table), 7)

    assert ranges == [IdRange(0, 7, 1), IdRange(1, 300000, 50)]


def test_more_grants_than_a_map_has_room_for_are_left_out(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text("".join(f"{os.geteuid()}:{n}:1\n" for n in range(10, 1000)))

    ranges = _granted_after_self(str(table), 7)

    assert 300 < len(ranges) <= 340
    assert len(render_id_map(ranges)) < PAGE


@pytest.mark.slow
@given(
    grants=st.lists(st.tuples(st.integers(0x7_0000, 0x20_0000), st.integers(1, 2**18)), max_size=20)
)
def test_range_of_roots_containers_was_granted_to_nobody(
    tmp_path_factory: pytest.TempPathFactory, grants: list[tuple[int, int]]
) -> None:
    table = tmp_path_factory.getbasetemp() / "subuid"
    table.write_text("".join(f"ann:{first}:{count}\n" for first, count in grants))

    (picked,) = _pick_root_range(str(table))

    assert (picked.inside, picked.count) == (0, 65536)
    assert picked.outside >= 0x8_0000
    assert not any(
        first < picked.outside + picked.count and picked.outside < first + count
        for first, count in grants
    )


def test_range_that_is_granted_to_root_is_the_one_of_its_containers(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text("ann:100000:65536\nroot:700000:10\nroot:800000:70000\n")

    assert _pick_root_range(str(table)) == [IdRange(0, 800000, 65536)]


def test_host_whose_ids_are_all_granted_gets_a_sentence(tmp_path: Path) -> None:
    table = tmp_path / "subuid"
    table.write_text(f"ann:0:{NO_ID}\n")

    with pytest.raises(SetupError, match=r"cannot find unused IDs for the container in .*subuid"):
        _pick_root_range(str(table))


@requires_root
def test_root_of_a_container_of_roots_is_nobody_on_the_host() -> None:
    mapping = plan_user_mapping()

    with pytest.raises(KeyError):
        pwd.getpwuid(mapping.root_uid)
    assert not mapping.deny_setgroups
    assert [(r.inside, r.count) for r in mapping.uids] == [(0, 65536)]


@requires_user
@requires_subordinate_ids
def test_root_of_a_users_container_is_the_user_and_the_grant_follows() -> None:
    mapping = plan_user_mapping()

    assert (mapping.root_uid, mapping.is_single) == (os.geteuid(), False)
    assert mapping.maps_uid(0)
    assert mapping.maps_gid(65536)
    assert mapping.helpers == find_helpers()


@requires_root
def test_user_without_a_grant_is_alone_in_the_container() -> None:
    def plan() -> tuple[bool, bool, int]:
        os.setresgid(7777, 7777, 7777)
        os.setresuid(7777, 7777, 7777)
        mapping = plan_user_mapping()
        return mapping.is_single, mapping.deny_setgroups, mapping.root_uid

    assert run_in_child(plan) == (True, True, 7777)


@requires_user_namespaces
def test_root_that_has_a_part_of_the_ids_hands_on_all_that_it_has(
    in_new_namespaces: InNewNamespaces,
) -> None:
    outer = plan_user_mapping()

    uids, gids = in_new_namespaces(lambda: (plan_user_mapping().uids, plan_user_mapping().gids))

    assert uids == tuple(IdRange(r.inside, r.inside, r.count) for r in outer.uids)
    assert gids == tuple(IdRange(r.inside, r.inside, r.count) for r in outer.gids)


@requires_user_namespaces
def test_process_gets_the_ids_that_were_planned() -> None:
    planned = plan_user_mapping()

    with unmapped_process() as pid:
        write_user_mapping(pid, planned)
        uid_map, gid_map = (Path(f"/proc/{pid}/{name}_map").read_text() for name in ("uid", "gid"))

    assert parse_id_map(uid_map) == list(planned.uids)
    assert parse_id_map(gid_map) == list(planned.gids)


def test_process_that_is_gone_cannot_be_mapped() -> None:
    child = os.fork()
    if child == 0:
        os._exit(0)
    os.waitpid(child, 0)
    mapping = UserMapping([IdRange(0, 0, 1)], [IdRange(0, 0, 1)])

    with pytest.raises(
        SetupError, match=rf"write the user mapping to /proc/{child}/uid_map.*ENOENT"
    ):
        write_user_mapping(child, mapping)


@requires_user
@requires_subordinate_ids
def test_ids_that_nobody_granted_are_refused_in_the_words_of_newuidmap() -> None:
    mapping = UserMapping([IdRange(0, 0, 1)], [IdRange(0, 0, 1)], helpers=find_helpers())

    with pytest.raises(SetupError, match=r"cannot map 0 0 1 with .*newuidmap; .*newuidmap: "):
        write_user_mapping(os.getpid(), mapping)


@requires_user_namespaces
def test_caller_that_ignores_sigchld_gives_ids_too() -> None:
    def write_with_sigchld_ignored() -> str:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        with unmapped_process() as pid:
            write_user_mapping(pid, plan_user_mapping())
            return Path(f"/proc/{pid}/uid_map").read_text()

    uid_map = run_in_child(write_with_sigchld_ignored)

    assert parse_id_map(uid_map) == list(plan_user_mapping().uids)
