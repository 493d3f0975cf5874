import pytest

from mocker.isolation import SpecError
from mocker.supervisor.client.detach_keys import DEFAULT, DetachKeys

P, Q = b"\x10", b"\x11"


@pytest.mark.parametrize(
    ("typed", "passed", "pressed"),
    [
        ([P + Q], b"", True),
        ([P, Q], b"", True),
        ([b"ls\n" + P + Q + b"late"], b"ls\n", True),
        ([P, P + Q], P, True),
        ([P, b"x", Q], P + b"x" + Q, False),
        ([Q + b"a"], Q + b"a", False),
        ([P], b"", False),
    ],
)
def test_only_the_keys_one_after_another_are_held_back(
    typed: list[bytes], passed: bytes, pressed: bool
) -> None:
    keys = DetachKeys(DEFAULT)

    found = b"".join(map(keys.feed, typed))

    assert (found, keys.pressed) == (passed, pressed)


def test_keys_that_begin_as_they_end_are_found_after_a_wrong_one() -> None:
    keys = DetachKeys("a,a,b")

    assert (keys.feed(b"aaab"), keys.pressed) == (b"a", True)


@pytest.mark.parametrize(
    ("text", "codes"),
    [("ctrl-a", b"\x01"), ("ctrl-Z", b"\x1a"), ("ctrl-@", b"\0"), ("ctrl-_,q,Q", b"\x1fqQ")],
)
def test_keys_are_named_as_docker_names_them(text: str, codes: bytes) -> None:
    keys = DetachKeys(text)

    assert (keys.feed(codes), keys.pressed) == (b"", True)


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-ab", "ctrl-1", "a,,b", "ab", "ä", "\n"])
def test_what_is_no_key_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match="detach keys must be letters, or such as"):
        DetachKeys(text)
