from collections.abc import Callable

import pytest

from mocker.isolation import SpecError
from mocker.isolation.checks import (
    MAX_READY_FD,
    check_argv,
    check_cpus,
    check_destination,
    check_distinct,
    check_env_name,
    check_hostname,
    check_notify,
    check_range,
    check_ready_fd,
    check_text,
    check_user,
    check_word,
    check_workdir,
    check_writable,
)


class Text(str):
    """Text of a program's own type."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("check", "good", "bad", "message"),
    [
        (check_hostname, "web-1", "web 1", "host name must be one printable word, not 'web 1'"),
        (check_notify, "n" * 107, "n" * 108, "notify name must have 1 to 107 bytes"),
        (check_ready_fd, MAX_READY_FD, 2, "ready descriptor must be 3 to 255, not 2"),
        (check_workdir, "/srv", "srv", "workdir must be an absolute path, not 'srv'"),
        (check_writable, "/srv", "srv", "writable path must be absolute, not 'srv'"),
        (check_writable, "/a/../b", "/a/..", "landlock forbids nothing where / is writable"),
        (check_writable, "//b", "//", "landlock forbids nothing where / is writable"),
        (check_env_name, "A", "A=", "variable name must not be empty or contain '='"),
        (check_user, "nobody:1", "nobody:", r"user must be USER\[:GROUP\]"),
    ],
)
def test_value_is_returned_or_refused_with_its_reason(
    check: Callable[[object], object], good: object, bad: object, message: str
) -> None:
    assert check(good) == good
    with pytest.raises(SpecError, match=message):
        check(bad)


def test_number_is_in_its_range() -> None:
    assert [check_range(number, -1, 1, "number") for number in (-1, 1)] == [-1, 1]
    with pytest.raises(SpecError, match="mask must be 000 to 777, not 1000"):
        check_range(0o1000, 0, 0o777, "mask", "03o")


def test_cpus_are_there_once_and_in_order() -> None:
    assert check_cpus([3, 0, 3]) == (0, 3)
    with pytest.raises(SpecError, match="cpu_affinity must have at least one CPU"):
        check_cpus([])


def test_words_are_those_of_a_command() -> None:
    assert check_argv(iter(["echo", ""])) == ("echo", "")
    with pytest.raises(SpecError, match="must be a sequence of words"):
        check_argv("echo")


def test_destination_is_written_in_one_way() -> None:
    assert check_destination("//a/./b/", "volume destination") == "/a/b"
    with pytest.raises(SpecError, match=r"volume destination must not contain '\.\.'"):
        check_destination("/a/../b", "volume destination")


def test_destination_that_is_there_twice_is_refused() -> None:
    check_distinct(["/a", "/b"])
    with pytest.raises(SpecError, match="two volumes or tmpfs have the destination '/a'"):
        check_distinct(["/a", "/b", "/a"])


def test_text_is_that_of_python_itself() -> None:
    found = check_text(Text("a"), "argument"), check_word(Text("a"), ("a", "b"), "word")

    assert list(map(type, found)) == [str, str]
