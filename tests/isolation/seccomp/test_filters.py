from mocker.isolation.seccomp import DEFAULT, UNCONFINED
from mocker.isolation.seccomp.filters import find_filter


def test_nothing_is_loaded_for_who_is_unconfined() -> None:
    assert find_filter(UNCONFINED, frozenset()) == b""


def test_filter_is_compiled_once_for_a_kind_of_container() -> None:
    first = find_filter(DEFAULT, frozenset({"SYS_TIME"}))

    assert find_filter(DEFAULT, {"SYS_TIME"}) is first


def test_filter_depends_on_the_capabilities() -> None:
    assert find_filter(DEFAULT, {"SYS_TIME"}) != find_filter(DEFAULT, {"SYS_BOOT"})
