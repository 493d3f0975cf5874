import shutil
import signal
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import SetupError, default_rootfs
from mocker.isolation.busybox import _found, _is_static, _list_applets, find_busybox
from mocker.isolation.syscalls import mount
from tests.in_namespaces import InNewNamespaces, run_in_child
from tests.requirements import requires_busybox, requires_user_namespaces

PT_LOAD, PT_INTERP = 1, 3
MS_BIND = 0x1000
PLACES = [
    Path(directory, "busybox")
    for directory in ("/bin", "/usr/bin", "/usr/local/bin", "/sbin", "/usr/sbin")
]


def make_elf(
    *types: int,
    wide: bool = True,
    order: str = "<",
    offset: int | None = None,
    size: int | None = None,
) -> bytes:
    """Return an ELF file with program headers of these types and nothing else."""
    length = 64 if wide else 52
    size = (56 if wide else 32) if size is None else size
    offset = length if offset is None else offset
    head = b"\x7fELF" + bytes([2 if wide else 1, 1 if order == "<" else 2, 1]) + bytes(9)
    address, table = ("QQQ", 54) if wide else ("III", 42)
    head += struct.pack(order + "HHI" + address, 2, 62, 1, 0, offset & (2**64 - 1), 0)
    head = head.ljust(table, b"\0") + struct.pack(order + "HH", size, len(types))
    entries = (struct.pack(order + "I", kind).ljust(size, b"\0") for kind in types)
    return (head.ljust(length, b"\0") + b"".join(entries)).ljust(64, b"\0")


def write_program(directory: Path, content: bytes) -> Path:
    path = directory / "busybox"
    path.write_bytes(content)
    path.chmod(0o755)
    return path


every_kind_of_elf = pytest.mark.parametrize(
    ("wide", "order"), [(True, "<"), (True, ">"), (False, "<"), (False, ">")]
)


@every_kind_of_elf
def test_program_that_names_no_loader_is_static(tmp_path: Path, wide: bool, order: str) -> None:
    path = write_program(tmp_path, make_elf(PT_LOAD, PT_LOAD, wide=wide, order=order))

    assert _is_static(str(path))


@every_kind_of_elf
def test_program_that_names_a_loader_is_not_static(tmp_path: Path, wide: bool, order: str) -> None:
    path = write_program(tmp_path, make_elf(PT_LOAD, PT_INTERP, wide=wide, order=order))

    assert not _is_static(str(path))


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"\x7fELF", id="magic number alone"),
        pytest.param(b"#!/bin/sh\necho ls\n" + b"#" * 100, id="script"),
        pytest.param(make_elf(PT_LOAD, PT_LOAD)[:63], id="cut in the header"),
        pytest.param(make_elf(PT_LOAD, PT_LOAD)[:100], id="cut in the table"),
        pytest.param(make_elf(PT_LOAD, offset=10**6), id="table beyond the end"),
        pytest.param(make_elf(PT_LOAD, offset=2**64 - 1), id="table beyond every end"),
        pytest.param(make_elf(PT_LOAD, size=0), id="entries of no size"),
        pytest.param(make_elf(PT_LOAD, size=3), id="entries that are too short"),
        pytest.param(make_elf(), id="no entries"),
    ],
)
def test_what_is_no_whole_program_is_not_static(tmp_path: Path, content: bytes) -> None:
    path = write_program(tmp_path, content)

    assert not _is_static(str(path))


@pytest.mark.slow
@given(
    head=st.binary(max_size=80),
    rest=st.binary(max_size=80),
    wide=st.booleans(),
    numbers=st.tuples(st.integers(0, 2**64 - 1), st.integers(0, 100)),
)
def test_any_file_is_static_or_not(
    tmp_path_factory: pytest.TempPathFactory,
    head: bytes,
    rest: bytes,
    wide: bool,
    numbers: tuple[int, int],
) -> None:
    offset, size = numbers
    crafted = make_elf(PT_LOAD, wide=wide, offset=offset % 2 ** (64 if wide else 32), size=size)
    for content in (head, b"\x7fELF" + head, crafted[: len(head)] + rest, crafted + rest):
        path = write_program(tmp_path_factory.getbasetemp(), content)

        assert _is_static(str(path)) in {True, False}


@requires_busybox
def test_busybox_of_the_path_is_taken_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = find_busybox()
    shutil.copy(original.path, tmp_path / "busybox")
    monkeypatch.setenv("PATH", f"relative:{tmp_path}:/usr/bin")

    found = find_busybox()

    assert found.path == str(tmp_path / "busybox")
    assert found.applets == original.applets


@requires_busybox
@pytest.mark.parametrize("unset", [True, False])
def test_busybox_is_found_without_a_path(monkeypatch: pytest.MonkeyPatch, unset: bool) -> None:
    if unset:
        monkeypatch.delenv("PATH")
    else:
        monkeypatch.setenv("PATH", "")

    assert Path(find_busybox().path) in PLACES


@requires_busybox
def test_applets_are_names_to_link_and_not_busybox_itself() -> None:
    applets = find_busybox().applets

    assert {"sh", "ls", "cat", "mount", "hostname"} <= set(applets)
    assert "busybox" not in applets
    assert not any("/" in name for name in applets)
    assert len(applets) == len(set(applets))


@requires_busybox
@pytest.mark.parametrize("kind", ["dynamic", "directory", "not executable"])
def test_busybox_that_would_not_run_alone_is_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    if kind == "directory":
        (tmp_path / "busybox").mkdir()
    else:
        path = write_program(tmp_path, make_elf(PT_INTERP if kind == "dynamic" else PT_LOAD))
        path.chmod(0o755 if kind == "dynamic" else 0o644)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert Path(find_busybox().path) in PLACES


def test_busybox_that_is_not_a_program_of_this_machine_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_program(tmp_path, make_elf(PT_LOAD, wide=False, order=">"))
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(SetupError, match=rf"applets of {path}: Exec format error \(ENOEXEC\)"):
        find_busybox()


def test_program_that_only_has_the_name_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "busybox"
    path.symlink_to(shutil.which("false") or "/bin/false")

    with pytest.raises(SetupError, match=r"cannot list the applets of .*; it ended with"):
        _list_applets(str(path))


@requires_busybox
def test_caller_that_ignores_sigchld_finds_busybox_too() -> None:
    def find() -> int:
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        _found.clear()  # asked once for each binary in a process
        return len(find_busybox().applets)

    assert run_in_child(find) > 100


@requires_busybox
def test_host_with_busybox_has_it_as_its_default_root() -> None:
    assert default_rootfs() == ("busybox", "")


@requires_user_namespaces
def test_host_without_busybox_is_its_own_default_root_and_told_what_to_install(
    in_new_namespaces: InNewNamespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")

    def act() -> tuple[str, str]:
        for path in {place.resolve() for place in PLACES if place.exists()}:
            mount("/dev/null", str(path), "", MS_BIND)
        return default_rootfs()

    rootfs, why = in_new_namespaces(act)

    assert rootfs == "host"
    assert why == (
        "using --rootfs host: cannot find a static busybox; "
        "install busybox-static (Debian, Ubuntu, Alpine) or busybox (Fedora, Arch)"
    )


@requires_user_namespaces
def test_host_whose_busybox_is_dynamic_is_told_so(
    in_new_namespaces: InNewNamespaces, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/mnt")
    content = make_elf(PT_INTERP)

    def act() -> tuple[str, str]:
        for path in {place.resolve() for place in PLACES if place.exists()}:
            mount("/dev/null", str(path), "", MS_BIND)
        mount("none", "/mnt", "tmpfs")
        write_program(Path("/mnt"), content)
        return default_rootfs()

    rootfs, why = in_new_namespaces(act)

    assert rootfs == "host"
    assert why.startswith(
        "using --rootfs host: cannot use the busybox /mnt/busybox; it is not static; install "
    )
