import signal
from pathlib import Path

import pytest

from mocker.supervisor.container_words import (
    parse_affinity,
    parse_capability,
    parse_limits,
    parse_signal,
    parse_tmpfs,
    parse_umask,
    parse_volume,
    parse_whole,
    read_seccomp,
)


@pytest.mark.parametrize(
    ("word", "volume"),
    [
        ("a:/b", ("a", "/b", False)),
        ("/a:/b:rw", ("/a", "/b", False)),
        ("./a b:/b:ro", ("./a b", "/b", True)),
    ],
)
def test_volume_has_two_or_three_parts(word: str, volume: tuple[str, str, bool]) -> None:
    assert parse_volume(word) == volume


@pytest.mark.parametrize("word", ["", "a", ":/b", "a:/b:rx", "a:/b:ro:", "a:b:c:d"])
def test_what_is_no_volume_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"^must be SRC:DST or SRC:DST:ro, not "):
        parse_volume(word)


@pytest.mark.parametrize(
    ("word", "tmpfs"),
    [
        ("/t", ("/t", None, 0o1777)),
        ("/t:", ("/t", None, 0o1777)),
        ("/t:size=64m", ("/t", 64 * 2**20, 0o1777)),
        ("/t:mode=700,size=1k", ("/t", 1024, 0o700)),
        ("/t:rw,nosuid,nodev,size=1.5k", ("/t", 1536, 0o1777)),
    ],
)
def test_tmpfs_has_options(word: str, tmpfs: tuple[str, int | None, int]) -> None:
    assert parse_tmpfs(word) == tmpfs


@pytest.mark.parametrize(
    ("word", "sentence"),
    [
        ("/t:siz=1", "takes size=… and mode=…, not 'siz=1'"),
        ("/t:noexec", "takes size=… and mode=…, not 'noexec'"),
        ("/t:mode=", "takes size=… and mode=…, not 'mode='"),
        ("/t:mode=8", "takes size=… and mode=…, not 'mode=8'"),
        ("/t:size=x", "size must be a size such as '64k', '64M' or '1G', not 'x'"),
    ],
)
def test_what_is_no_tmpfs_is_refused(word: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        parse_tmpfs(word)

    assert str(caught.value) == sentence


@pytest.mark.parametrize(
    ("text", "limits"),
    [
        ("1024", (1024, 1024)),
        ("1024:4096", (1024, 4096)),
        ("0:unlimited", (0, -1)),
        ("unlimited", (-1, -1)),
        ("-1", (-1, -1)),
        ("1:", (1, 1)),
    ],
)
def test_limit_is_soft_and_hard(text: str, limits: tuple[int, int]) -> None:
    assert parse_limits(text) == limits


@pytest.mark.parametrize("text", ["", "x", "1:x", "1_0", " 1", "-2", "1:2:3", "٣"])
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be SOFT or SOFT:HARD"):
        parse_limits(text)


def test_capability_is_a_name_in_any_letters() -> None:
    assert list(map(parse_capability, ["cap_net_raw", "Kill", "all"])) == ["NET_RAW", "KILL", "ALL"]


def test_what_is_no_capability_is_refused() -> None:
    with pytest.raises(ValueError, match=r"^must be a capability such as NET_RAW, or ALL, not 'x'"):
        parse_capability("x")


@pytest.mark.parametrize(("text", "bits"), [("022", 0o22), ("22", 0o22), ("0", 0), ("0777", 0o777)])
def test_umask_is_octal(text: str, bits: int) -> None:
    assert parse_umask(text) == bits


@pytest.mark.parametrize("text", ["", "8", "1000", "-1", "0o22", " 22", "0" * 5000, "٣"])
def test_what_is_no_umask_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be an octal number up to 777, such as 022, not "):
        parse_umask(text)


@pytest.mark.parametrize(
    ("text", "cpus"),
    [("0", (0,)), ("0-2,5", (0, 1, 2, 5)), ("7,3-3,3", (3, 7)), ("8191", (8191,))],
)
def test_cpus_are_numbers_and_ranges(text: str, cpus: tuple[int, ...]) -> None:
    assert parse_affinity(text) == cpus


@pytest.mark.parametrize(
    "text",
    ["", ",", "0,", "-1", "0-", "1-2-3", "x", "8192", "0-8192", "2-1", " 0", "9" * 5000, "²"],
)
def test_what_is_no_cpu_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be CPUs such as 0-1,3, "):
        parse_affinity(text)


@pytest.mark.parametrize("text", ["-20", "0", "-0", "19", "007"])
def test_number_in_the_range_is_whole(text: str) -> None:
    assert parse_whole(text, -20, 19) == int(text)


@pytest.mark.parametrize("text", ["", "-", "20", "-21", "1.0", "--1", "+1", "1_0", "9" * 5000, "²"])
def test_what_is_no_number_in_the_range_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a whole number from -20 to 19, not "):
        parse_whole(text, -20, 19)


@pytest.mark.parametrize("word", ["TERM", "SIGTERM", "term", "sigterm", "15"])
def test_signal_has_a_name_and_a_number(word: str) -> None:
    assert parse_signal(word) == signal.SIGTERM


@pytest.mark.parametrize("word", ["RTMIN+3", "sigrtmin+3", "37"])
def test_real_time_signal_is_counted_from_the_first(word: str) -> None:
    assert parse_signal(word) == signal.SIGRTMIN + 3


@pytest.mark.parametrize("word", ["RTMIN+", "RTMIN+31", "RTMIN+-1", "RTMAX+1", "TERM+1", "+1"])
def test_what_is_no_real_time_signal_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a signal such as TERM, not "):
        parse_signal(word)


@pytest.mark.parametrize("word", ["", "TERMM", "0", "99", "-1", "SIG", "1.0", "²"])
def test_what_is_no_signal_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match=r"^must be a signal such as TERM, not "):
        parse_signal(word)


@pytest.mark.parametrize("word", ["default", "unconfined"])
def test_filter_has_a_name_or_is_a_file(tmp_path: Path, word: str) -> None:
    path = tmp_path / word
    path.write_text('{"defaultAction": "SCMP_ACT_ALLOW"}')

    assert read_seccomp(word, "/nowhere") == word
    assert read_seccomp(f"./{word}", str(path)) == path.read_text()


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/dev/zero", "must be default, unconfined or a file; /dev/zero cannot be read: it is not"),
        ("/", "must be default, unconfined or a file; / cannot be read: it is a directory"),
        ("/etc/passwd", "/etc/passwd: must be JSON: Expecting value: line 1 column 1 (char 0)"),
    ],
)
def test_what_is_no_filter_is_refused(path: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_seccomp(path, path)

    assert str(caught.value).startswith(sentence)
