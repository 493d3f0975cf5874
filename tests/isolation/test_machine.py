import ctypes
import os

import pytest

from mocker.isolation import machine
from mocker.isolation.machine import find_machine
from mocker.isolation.process_calls import join_session_keyring
from mocker.isolation.seccomp.ranges import find_tables
from mocker.isolation.syscalls import CLONE, KEYCTL
from tests.in_namespaces import run_in_child

PER_LINUX32 = 8


def test_machine_is_the_same_for_who_is_told_that_it_has_32_bits() -> None:
    personality = ctypes.CDLL(None).personality

    def act() -> tuple[str, str]:
        personality(PER_LINUX32)
        return os.uname().machine, find_machine()

    told, found = run_in_child(act)

    assert found == find_machine() != told


def test_filter_and_keyring_are_the_same_for_who_is_told_so() -> None:
    personality = ctypes.CDLL(None).personality

    def act() -> tuple[list[tuple[str, int]], int]:
        personality(PER_LINUX32)
        return list(find_tables()), len(join_session_keyring())

    assert run_in_child(act) == (list(find_tables()), 1)


@pytest.mark.parametrize("known", [CLONE, KEYCTL])
def test_every_machine_with_a_number_has_its_own_name(known: dict[str, int]) -> None:
    assert set(known) <= set(machine._WIDE.values())
