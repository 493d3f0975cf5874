from pathlib import Path

import pytest

from mocker.isolation import SpecError
from mocker.isolation.capabilities import (
    ALL,
    DEFAULT_SET,
    NUMBERS,
    check_capabilities,
    effective_set,
    find_last_capability,
    mask_of,
    names_of,
)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("CHOWN", 0),
        ("SETPCAP", 8),
        ("NET_RAW", 13),
        ("SYS_ADMIN", 21),
        ("MKNOD", 27),
        ("SETFCAP", 31),
        ("BLOCK_SUSPEND", 36),
        ("CHECKPOINT_RESTORE", 40),
    ],
)
def test_capability_has_the_kernels_number(name: str, number: int) -> None:
    assert NUMBERS[name] == number
    assert mask_of([name]) == 1 << number


def test_default_set_is_dockers() -> None:
    assert mask_of(DEFAULT_SET) == 0xA80425FB  # CapEff in a container of docker's


def test_last_capability_is_the_one_that_the_kernel_says() -> None:
    assert find_last_capability() == int(Path("/proc/sys/kernel/cap_last_cap").read_text())


@pytest.mark.parametrize("name", ["NET_RAW", "net_raw", "CAP_NET_RAW", "cap_Net_Raw"])
def test_name_has_any_letters_and_a_prefix_or_none(name: str) -> None:
    assert check_capabilities([name], "cap_add") == ("NET_RAW",)


def test_names_are_told_once_and_in_order() -> None:
    assert check_capabilities(["net_raw", "all", "CAP_NET_RAW"], "cap_add") == ("ALL", "NET_RAW")


@pytest.mark.parametrize(
    "name", ["", "CAP_", "NET", "NET_RAW ", "cap_cap_net_raw", "13", "\u017fetuid"]
)
def test_what_is_no_capability_is_refused(name: str) -> None:
    with pytest.raises(SpecError) as info:
        check_capabilities([name], "cap_drop")

    expected = f"cap_drop must be a capability such as NET_RAW, or ALL, not {name!r}"
    assert str(info.value) == expected


def test_text_in_place_of_names_is_refused() -> None:
    with pytest.raises(SpecError, match="cap_add must be a sequence of names, not the text 'all'"):
        check_capabilities("all", "cap_add")


@pytest.mark.parametrize(
    ("added", "dropped", "expected"),
    [
        ([], [], DEFAULT_SET),
        (["SYS_TIME"], [], DEFAULT_SET | {"SYS_TIME"}),
        ([], ["CHOWN"], DEFAULT_SET - {"CHOWN"}),
        (["NET_RAW"], [ALL], {"NET_RAW"}),
        ([ALL], [], set(NUMBERS)),
        ([ALL], ["SYS_ADMIN"], set(NUMBERS) - {"SYS_ADMIN"}),
        ([ALL, "CHOWN"], ["CHOWN"], set(NUMBERS) - {"CHOWN"}),
        ([ALL], [ALL], set(NUMBERS)),
        ([], [ALL], set()),
        (["CHOWN"], ["CHOWN"], DEFAULT_SET),
    ],
)
def test_what_is_added_and_dropped_is_as_with_docker(
    added: list[str], dropped: list[str], expected: set[str]
) -> None:
    assert effective_set(added, dropped) == expected


def test_set_to_begin_with_may_be_empty() -> None:
    assert effective_set(["CHOWN"], ["KILL"], frozenset()) == {"CHOWN"}


def test_names_of_a_mask_are_those_that_it_was_made_of() -> None:
    assert set(names_of(mask_of(DEFAULT_SET) | 1 << 63)) == DEFAULT_SET
