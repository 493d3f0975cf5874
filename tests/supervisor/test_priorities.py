import pytest

from mocker.supervisor.lines import Lines, Source
from mocker.supervisor.priorities import Piece, Priorities, may_say

STDOUT, STDERR = (Source("web", channel, 1, 1) for channel in ("stdout", "stderr"))


@pytest.mark.parametrize(("source", "usual"), [(STDOUT, 6), (STDERR, 3)])
def test_line_that_says_nothing_has_the_priority_of_its_channel(source: Source, usual: int) -> None:
    pieces = Priorities(source).tell_apart(Lines(source, b"one\n<4>two\n<8>three\n", (), 0))

    assert [(piece.priority, piece.text) for piece in pieces] == [
        (usual, b"one"),
        (4, b"two"),
        (usual, b"<8>three"),
    ]


def test_pieces_of_a_line_have_the_priority_of_the_first() -> None:
    priorities = Priorities(STDOUT)
    first = list(priorities.tell_apart(Lines(STDOUT, b"<2>be\n", (0,), 0)))
    rest = list(priorities.tell_apart(Lines(STDOUT, b"<4>gun\nnext\n", (), 0, True)))

    assert first == [Piece(2, b"be", False, True)]
    assert rest == [Piece(2, b"<4>gun", True, False), Piece(6, b"next", False, False)]


def test_text_without_a_priority_needs_no_look_at_each_line() -> None:
    texts = (b"one\ntwo\n", b"<4>one\n", b"one\n<4>two\n")

    assert [may_say(Lines(STDOUT, text, (), 0)) for text in texts] == [False, True, True]
