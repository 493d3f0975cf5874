import os
from errno import E2BIG, EACCES, EBADF, EINVAL, ENOENT
from pathlib import Path

import pytest

from mocker.isolation import calls, process_calls
from mocker.isolation.memory import (
    FAILED,
    Cell,
    read_head,
    walk,
)
from mocker.isolation.tape import (
    _MOST_OWN,
    _MOST_TAPES,
    _MOST_TEXT,
    Call,
    Segment,
    Tape,
    _prepared_own,
    _tapes,
    extend,
    fits,
    keep_own,
    load,
    make_tape,
    perform,
)
from tests.in_namespaces import run_in_child

UNUSED = 4  # a word of the head that no group of these tests starts in


def note(made: list[int], number: int) -> Call:
    return calls.then(made.append, number)


def walk_groups(tape: Tape, *groups: int) -> None:
    load(tape, None)
    for group in groups:
        walk(read_head(group))


def test_one_segment_goes_on_where_the_other_ends() -> None:
    made: list[int] = []
    segments: list[Segment] = [[note(made, 1), note(made, 2)], (note(made, 3),), [note(made, 4)]]

    def act() -> list[int]:
        walk_groups(make_tape([segments]), 0)
        return made

    assert run_in_child(act) == [1, 2, 3, 4]


def test_groups_are_walked_by_themselves() -> None:
    made: list[int] = []
    groups: list[list[Segment]] = [
        [(note(made, 1),)],
        [[note(made, 2)]],
        [],
        [(note(made, 3),), [note(made, 4)]],
    ]

    def act() -> list[int]:
        walk_groups(make_tape(groups), 3, 0, 2, 1)
        return made

    assert run_in_child(act) == [3, 4, 1, 2]


def test_tape_of_the_same_tuples_differs_in_its_lists_alone(tmp_path: Path) -> None:
    directory = Cell(shared=True)
    fixed = (calls.open_file(str(tmp_path), os.O_PATH, to=directory),)

    def act() -> list[str]:
        for name in ("one", "two-with-a-longer-name", "x"):
            walk_groups(make_tape([[fixed, [calls.mkdirat(directory, name, 0o755)]]]), 0)
        return sorted(path.name for path in tmp_path.iterdir())

    assert run_in_child(act) == ["one", "two-with-a-longer-name", "x"]


def prepare_mask(number: int) -> list[Call]:
    return [process_calls.umask(number)]


def test_container_that_is_made_again_has_the_segments_of_last_time() -> None:
    segment = keep_own(prepare_mask, 1)

    assert keep_own(prepare_mask, 1) is segment
    assert keep_own(prepare_mask, 2) != segment


def test_segments_of_containers_that_are_made_no_more_are_forgotten() -> None:
    def act() -> bool:
        segment = keep_own(prepare_mask, -1)
        for number in range(1000, 1000 + _MOST_OWN):
            make_tape([[keep_own(prepare_mask, number)]])
        forgotten = keep_own(prepare_mask, -1) is not segment
        return forgotten and len(_prepared_own) == _MOST_OWN and len(_tapes) == _MOST_TAPES

    assert run_in_child(act)


def prepare_directory(name: str) -> list[Call]:
    return [calls.chdir(name)]


def test_segment_with_much_text_is_not_kept_nor_its_tape() -> None:
    name = "x" * (_MOST_TEXT + 1)

    def act() -> bool:
        segment = keep_own(prepare_directory, name)
        before = len(_tapes)
        make_tape([[segment]])
        return keep_own(prepare_directory, name) is not segment and len(_tapes) == before

    assert run_in_child(act)


def test_tape_that_is_made_again_is_the_same_whatever_was_added_to_the_first() -> None:
    groups: list[list[Segment]] = [[(process_calls.setsid(),), keep_own(prepare_mask, 3)], []]
    first = make_tape(groups)
    expected = bytes(first.render())
    first.set_head(UNUSED, 7)
    first.tail += b"more"

    second = make_tape(groups)

    assert bytes(second.render()) == expected
    assert second.segments == first.segments


@pytest.mark.parametrize("number", [4, 5])
def test_tapes_of_the_same_kind_differ_in_what_is_their_own(number: int) -> None:
    fixed: Segment = (process_calls.umask(0o22),)

    def act() -> list[int]:
        found = []
        for own in (4, 5, number):
            walk_groups(make_tape([[fixed, keep_own(prepare_mask, own)]]), 0)
            found.append(os.umask(0))
        return found

    assert run_in_child(act) == [4, 5, number]


def test_result_goes_from_one_segment_to_another_by_a_shared_cell() -> None:
    pid = Cell(shared=True)

    def act() -> bool:
        walk_groups(make_tape([[(calls.getpid(to=pid),)]]), 0)
        return pid.value == os.getpid()

    assert run_in_child(act)
    assert pid.value == -1


def test_bytes_serve_another_process_of_the_same_program(tmp_path: Path) -> None:
    content = bytes(make_tape([[[calls.chdir(str(tmp_path))]]]).render())

    def act() -> str:
        walk_groups(Tape(content, []), 0)
        return str(Path.cwd())

    assert run_in_child(act) == str(tmp_path)


def test_failure_is_found_by_its_segment() -> None:
    tape = make_tape([[[calls.chdir("/")], (calls.chdir("/no/such"),), [calls.chdir("/nor")]]])

    def act() -> list[bool]:
        try:
            walk_groups(tape, 0)
        except FileNotFoundError:
            return [begin <= FAILED.value < end for begin, end in tape.segments]
        return []

    assert run_in_child(act) == [False, True, False]


def test_action_gets_what_the_tape_came_with() -> None:
    made: list[object] = []
    tape = make_tape([[[calls.then(lambda *words: made.append(words), 1, ..., "x")]]])

    def act() -> list[object]:
        load(tape, "context")
        walk(read_head(0))
        return made

    assert run_in_child(act) == [(1, "context", "x")]


def test_group_is_added_in_the_process_that_walks() -> None:
    made: list[int] = []

    def act() -> list[int]:
        load(make_tape([[[note(made, 1)]], []]), None)
        extend(1, [note(made, 2), note(made, 3)])
        walk(read_head(0))
        walk(read_head(1))
        return made

    assert run_in_child(act) == [1, 2, 3]


def test_calls_made_within_a_call_leave_the_others_alone() -> None:
    made: list[int] = []

    perform(
        [note(made, 1), calls.then(perform, [note(made, 2), note(made, 3)]), note(made, 4)],
    )

    assert made == [1, 2, 3, 4]


def test_list_without_calls_does_nothing() -> None:
    perform([])


def test_head_has_what_it_was_given() -> None:
    def act() -> int:
        tape = make_tape([[]])
        tape.set_head(UNUSED, -7)
        load(tape, None)
        return read_head(UNUSED)

    assert run_in_child(act) == -7


def test_tape_that_is_too_long_is_refused() -> None:
    tape = make_tape([[[calls.chdir("x" * 2**23)]]])

    assert not fits(tape)
    with pytest.raises(OSError, match=os.strerror(E2BIG)):
        load(tape, None)
    with pytest.raises(OSError, match=os.strerror(E2BIG)):
        perform([calls.chdir("x" * 2**23)])


def test_words_of_a_command_fit() -> None:
    words = ["x" * 100] * (2**21 // 101)  # 2 MiB, a quarter of the usual stack
    encoded = process_calls.encode_words(words, {})
    call = process_calls.execve("/bin/true", *encoded, tolerated=())

    assert fits(make_tape([[[call]]]))


@pytest.mark.parametrize("errors", [(), (ENOENT,), (EACCES, EBADF), (EACCES, EINVAL, ENOENT)])
def test_errors_that_are_tolerated_are_those_that_were_named(errors: tuple[int, ...]) -> None:
    attempt = process_calls.execve(
        "/no/such", *process_calls.encode_words(["x"], {}), tolerated=errors
    )

    if ENOENT in errors:
        perform([attempt])
    else:
        with pytest.raises(FileNotFoundError):
            perform([attempt])


def test_segment_that_is_empty_or_twice_on_a_tape_is_refused() -> None:
    segment: Segment = (calls.chdir("/"),)

    for group in ([segment, [calls.close(0)], segment], [segment, []]):
        with pytest.raises(ValueError, match="empty, or twice"):
            make_tape([group])
