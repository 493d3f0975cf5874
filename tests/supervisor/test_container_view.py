import os
from pathlib import Path
from stat import S_ISDIR, S_ISREG

import pytest

from mocker.isolation.busybox import Busybox
from mocker.supervisor.config import ContainerConfig
from mocker.supervisor.container_view import ContainerView, NotThereError
from tests.requirements import requires_user

BUSYBOX = Busybox(("/usr/bin/env", 0, 0, 0, 0), ("sh", "ls"))  # any file that is there


def make_view(rootfs: str | Path, **fields: object) -> ContainerView:
    container = ContainerConfig(argv=("a",), hostname="web", rootfs=str(rootfs), **fields)  # type: ignore[arg-type]
    return ContainerView(container, BUSYBOX if rootfs == "busybox" else None)


def refusal(view: ContainerView, path: str) -> str:
    with pytest.raises(NotThereError) as caught:
        view.find(path)
    return str(caught.value)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    (root / "usr/bin").mkdir(parents=True)
    (root / "etc").mkdir()
    (root / "usr/bin/tool").touch()
    (root / "bin").symlink_to("usr/bin")
    (root / "etc/tool").symlink_to("/bin/tool")
    return root


@pytest.mark.parametrize(
    "path",
    ["/usr/bin/tool", "/bin/tool", "/etc/tool", "//usr/./bin//tool", "/usr/../bin/../bin/tool"],
)
def test_file_of_the_root_is_found(root: Path, path: str) -> None:
    found = make_view(root).find(path)

    assert (found.path, found.host) == ("/usr/bin/tool", f"{root}/usr/bin/tool")
    assert S_ISREG(found.mode)


def test_relative_path_is_seen_from_a_directory(root: Path) -> None:
    assert make_view(root).find("bin/tool", "/usr").path == "/usr/bin/tool"
    assert make_view(root).find("./tool", "/bin").path == "/usr/bin/tool"


def test_root_itself_is_found(root: Path) -> None:
    assert make_view(root).find("/").host == str(root)
    assert make_view(root).find("/../..").host == str(root)


@pytest.mark.parametrize(
    "target", ["/../../../../../../etc/passwd", "../../../../../../etc/passwd", "/etc/passwd"]
)
def test_link_does_not_lead_out(root: Path, target: str) -> None:
    (root / "etc/out").symlink_to(target)

    assert (
        refusal(make_view(root), "/etc/out") == "/etc/out is a link to something that is not there"
    )


def test_directory_that_leads_out_does_not_either(root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").touch()
    (root / "out").symlink_to(tmp_path)

    refusal(make_view(root), "/out/secret")


def test_links_in_a_ring_end(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("/a")

    assert refusal(make_view(root), "/a") == "/a leads through too many links"


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/nosuch", "/nosuch is not there"),
        ("/nosuch/tool", "/nosuch/tool is not there"),
        ("/usr/bin/tool/x", "/usr/bin/tool/x is not there; /usr/bin/tool is not a directory"),
    ],
)
def test_what_is_not_there_is_told(root: Path, path: str, sentence: str) -> None:
    assert refusal(make_view(root), path) == sentence


@requires_user
def test_what_cannot_be_looked_at_is_told(root: Path) -> None:
    (root / "secret").mkdir()
    (root / "secret").chmod(0)

    sentence = refusal(make_view(root), "/secret/file")

    (root / "secret").chmod(0o700)
    assert sentence == "/secret/file cannot be looked at: Permission denied (EACCES)"


def test_volume_covers_what_the_root_has(root: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/new").touch()
    view = make_view(root, volumes=((f"{tmp_path}/volume", "/usr/bin", False),))

    assert view.find("/bin/new").host == f"{tmp_path}/volume/new"
    assert refusal(view, "/usr/bin/tool") == "/usr/bin/tool is not there"


def test_link_in_a_volume_means_what_it_means_in_the_container(root: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/link").symlink_to("/usr/bin/tool")
    view = make_view(root, volumes=((f"{tmp_path}/volume", "/data", False),))

    assert view.find("/data/link").host == f"{root}/usr/bin/tool"


def test_source_of_a_volume_may_be_a_link_of_the_host(root: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(root / "usr/bin/tool")
    view = make_view(root, volumes=((f"{tmp_path}/link", "/data/file", True),))

    assert S_ISREG(view.find("/data/file").mode)
    assert S_ISDIR(view.find("/data").mode)


def test_volume_goes_where_the_links_of_the_root_lead(root: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume/new").touch()
    view = make_view(root, volumes=((f"{tmp_path}/volume", "/bin/sub/dir", False),))

    assert view.find("/usr/bin/sub/dir/new").host == f"{tmp_path}/volume/new"


def test_volume_inside_another_is_found(root: Path, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    (tmp_path / "two/file").touch()
    volumes = ((f"{tmp_path}/two", "/data/two", False), (f"{tmp_path}/one", "/data", False))
    view = make_view(root, volumes=volumes)

    assert view.find("/data/two/file").host == f"{tmp_path}/two/file"


def test_fresh_file_system_is_empty(root: Path) -> None:
    view = make_view(root, tmpfs=(("/usr", None, 0o755),))

    assert S_ISDIR(view.find("/usr").mode)
    assert refusal(view, "/usr/bin/tool") == "/usr/bin/tool is not there"


@pytest.mark.parametrize("path", ["/proc/self/exe", "/dev/null", "/sys/kernel"])
@pytest.mark.parametrize("rootfs", ["busybox", "host", "/tmp"])
def test_what_the_kernel_has_is_not_known(rootfs: str, path: str) -> None:
    assert make_view(rootfs).find(path).mode == 0


@pytest.mark.parametrize("path", ["/bin/sh", "/sbin/ls", "/usr/bin/sh", "/usr/sbin/busybox"])
def test_fresh_root_has_the_applets(path: str) -> None:
    found = make_view("busybox").find(path)

    assert (found.path, found.host) == ("/bin/busybox", BUSYBOX.path)


def test_fresh_root_has_users_and_nothing_of_the_host() -> None:
    view = make_view("busybox")

    assert "\nnobody:x:65534:" in view.read("/etc/passwd")
    assert S_ISDIR(view.find("/var/run").mode)
    assert refusal(view, "/etc/hostname2") == "/etc/hostname2 is not there"
    assert refusal(view, "/usr/bin/python3") == "/usr/bin/python3 is not there"


def test_files_of_the_host_are_those_of_the_host(tmp_path: Path) -> None:
    view = make_view("host")

    assert view.read("/etc/passwd") == Path("/etc/passwd").read_text()
    refusal(view, f"/tmp/{os.urandom(4).hex()}")


def test_process_that_is_not_isolated_sees_all_of_the_host(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    view = make_view("host", isolate=False)

    assert view.find(f"{tmp_path}/file").host == f"{tmp_path}/file"
    assert view.find("/dev/null").mode


@pytest.mark.parametrize("path", ["/tmp", "/var/tmp", "/run"])
def test_directory_that_is_fresh_is_empty(path: str) -> None:
    view = make_view("host")

    assert S_ISDIR(view.find(path).mode)
    for entry in Path(path).iterdir():
        refusal(view, str(entry))


def test_file_that_cannot_be_read_says_nothing(root: Path) -> None:
    os.mkfifo(root / "etc/passwd")

    assert make_view(root).read("/etc/passwd") == ""
    assert make_view(root).read("/etc/group") == ""
