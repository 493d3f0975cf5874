"""A docker daemon of a test's own, whose containers see the programs of this machine.

Its own programs are files of Debian packages, see tests/fetch, so that none is installed. It has a
mount namespace, where what it writes to /etc and /opt is its own, a network namespace with nothing
but itself, and a PID namespace, with which all of its containers end; it ends by itself when the
test process does.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from tests.end_to_end.processes import PATIENCE, wait_until

CHECKOUT = Path(__file__).parents[1]
IMAGE = "programs-of-this-machine"
_PROGRAMS = Path(sys.prefix, "docker")
_DAEMON = "docker.io", "dockerd=usr/sbin/dockerd"
_CLIENT = "docker=usr/bin/docker"  # in a package of its own since Debian 13
_PACKAGES = (
    *(*_DAEMON, _CLIENT, "docker-cli", _CLIENT),
    *("containerd", "containerd=usr/bin/containerd"),
    "containerd-shim-runc-v2=usr/bin/containerd-shim-runc-v2",
)
_LINKS = ("bin", "lib", "lib64", "sbin")

# $1 is the directory, $2 the cgroup above those of containers, which docker leaves behind, and $3
# where images, containers and logs are kept. Docker writes to where cgroups are mounted, and makes
# /etc/docker and /opt/containerd; nothing of that is this machine's.
_SCRIPT = """
set -e
mount -t tmpfs tmpfs /run
for name in etc opt; do
    mkdir -p "/run/upper/$name" "/run/work/$name"
    mount -t overlay overlay \\
        -o "lowerdir=/$name,upperdir=/run/upper/$name,workdir=/run/work/$name" "/$name"
done
umount --recursive /sys/fs/cgroup || true
mount -t cgroup2 cgroup2 /sys/fs/cgroup
ip link set lo up
dockerd --host "unix://$1/socket" --data-root "$3" --exec-root /run/docker \\
    --pidfile /run/docker.pid --cgroup-parent "/$2" --exec-opt native.cgroupdriver=cgroupfs \\
    --bridge none --iptables=false --ip6tables=false --ip-forward=false --ip-masq=false </dev/null &
read -r _ || true # until the test closes its end
kill $!
wait $! || true
rmdir "/sys/fs/cgroup/$2" 2>/dev/null || true
"""


@cache
def find_docker_obstacle(*, fetches: bool) -> str:
    """Say what is in the way, after an attempt to fetch the programs, 60 MB, if that is wanted."""
    if os.geteuid() != 0:
        return "docker's daemon needs root"
    needed = ("bash", "ip", "mount", "runc", "tar", "unshare")
    if absent := [name for name in needed if shutil.which(name) is None]:
        return f"not installed: {', '.join(absent)}"
    if fetches:
        fetch = [str(CHECKOUT / "tests/fetch"), str(_PROGRAMS), *_PACKAGES]
        subprocess.run(fetch, capture_output=True, check=False)
    wanted = [word.partition("=")[0] for word in _PACKAGES if "=" in word]
    missing = [name for name in wanted if not (_PROGRAMS / name).exists()]
    return f"tests/fetch has not brought {', '.join(missing)}" if missing else ""


class Docker:
    """A daemon that runs.

    Attributes:
        process: Above all that belongs to it.
        command: The client, as far as it is always the same.
    """

    def __init__(self, directory: Path, data: Path) -> None:
        """Start it.

        Args:
            directory: Empty; its path is short, as those of sockets must be.
            data: For images, containers and logs.
        """
        self.command = [str(_PROGRAMS / "docker"), "--config", str(directory / "config")]
        self.command += ["--host", f"unix://{directory}/socket"]
        errors = directory / "errors"
        namespaces = ["--mount", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
        script = ["bash", "-c", _SCRIPT, "-", str(directory), directory.name, str(data)]
        with errors.open("wb") as file:
            self.process = subprocess.Popen(
                ["unshare", *namespaces, *script],
                env={"PATH": f"{_PROGRAMS}:{os.environ['PATH']}:/usr/sbin:/sbin"},
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
            )
        try:
            self._wait_answers(errors)
            self._import_image(directory / "image")
        except BaseException:
            self.close()
            raise

    def __call__(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run `docker` with these arguments, and wait for it."""
        result = subprocess.run(
            [*self.command, *arguments],
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
        if check and result.returncode:
            raise RuntimeError(f"docker {' '.join(arguments)}: {result.stderr}")
        return result

    def run(
        self, *arguments: str, options: tuple[str, ...] = (), check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        """Run `docker run` with what every container needs to see of this machine."""
        seen = dict.fromkeys(["/usr", "/etc", sys.base_prefix, sys.prefix, str(CHECKOUT)])
        # One that is inside another is there already.
        outermost = [path for path in seen if not any(_is_below(path, other) for other in seen)]
        volumes = [f"--volume={path}:{path}:ro" for path in outermost]
        fixed = ["run", "--network=none", "--volume=/tmp", *volumes]
        return self(*fixed, *options, IMAGE, *arguments, check=check)

    def close(self) -> None:
        """End it, and with it all of its containers."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def _wait_answers(self, errors: Path) -> None:
        def has_begun_or_ended() -> bool:
            return self._has_ended() or self("version", check=False).returncode == 0

        if not wait_until(has_begun_or_ended) or self._has_ended():
            raise RuntimeError(f"no daemon answers:\n{errors.read_text()}")

    def _has_ended(self) -> bool:
        return self.process.poll() is not None

    def _import_image(self, directory: Path) -> None:
        """Make an image with nothing but the places where this machine's programs are shown."""
        directory.mkdir()
        for name in _LINKS:
            (directory / name).symlink_to(f"usr/{name}")
        for name in ("usr", "etc", "proc", "sys", "dev", "tmp", "run", "root"):
            (directory / name).mkdir()
        archive = f"{directory}.tar"
        subprocess.run(
            ["tar", "--create", "--directory", directory, "--file", archive, "."], check=True
        )
        self("import", archive, IMAGE)


@contextmanager
def open_docker(data: Path | None = None) -> Iterator[Docker]:
    """Run a daemon for the length of a block.

    Args:
        data: An empty directory for images, containers and logs; None for one of its own.
    """
    with tempfile.TemporaryDirectory(prefix="mocker-docker-") as name:
        docker = Docker(Path(name), data or Path(name, "data"))
        try:
            yield docker
        finally:
            docker.close()


def _is_below(path: str, other: str) -> bool:
    return path != other and Path(path).is_relative_to(other)
