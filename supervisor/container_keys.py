"""The keys of a job that say what its container is like: the options of `mocker run`, as TOML."""

from collections.abc import Callable, Mapping
from typing import Any

from mocker.isolation import Rlimit, SpecError, Tmpfs, Volume
from mocker.isolation.checks import MAX_CPU, NICE_VALUES, OOM_SCORES, check_writable
from mocker.isolation.limits import (
    LEAST_CPUS,
    LEAST_MEMORY,
    LEAST_PIDS,
    LEAST_WEIGHT,
    MOST_CPUS,
    MOST_MEMORY,
    MOST_PIDS,
    MOST_WEIGHT,
)
from mocker.isolation.seccomp import DEFAULT, UNCONFINED
from mocker.isolation.spec import ROOTFS_MODES, USER_NAMESPACES

from .config import ContainerConfig
from .container_words import (
    parse_affinity,
    parse_capability,
    parse_limits,
    parse_tmpfs,
    parse_umask,
    parse_volume,
    read_seccomp,
)
from .mistakes import MistakeError, Place, render_value
from .values import (
    Parse,
    check_spec,
    each_of,
    map_of,
    number,
    one_of,
    one_or_each_of,
    parse_boolean,
    parse_command,
    parse_name,
    parse_path,
    parse_text,
    size,
    spec_field,
    whole,
)

# What an ordinary process does not have. Of the rest it has the host's: files, network, host name.
NEED_ISOLATION = (
    "rootfs",
    "rootfs_mode",
    "read_only",
    "volumes",
    "tmpfs",
    "hostname",
    "network",
    "userns",
    "cap_add",
    "cap_drop",
    "allow_new_privs",
)
# What only such a process has use for: a container has a root of its own.
ARE_FOR_THE_HOST = ("landlock", "writable")


def make_container(values: Mapping[str, Any], default_hostname: str) -> ContainerConfig:
    """Return the container of a job, of what the parsers below returned."""
    fields = {key: values[key] for key in CONTAINER_KEYS if key in values}
    fields.pop("env_file", None)  # its variables are in env
    fields["rlimits"] = tuple(fields.pop("ulimits", {}).values())
    argv = fields.pop("command")
    if fields.get("isolate", True) or not fields.get("landlock"):  # may be meant for other jobs
        fields = {key: fields[key] for key in fields if key not in ARE_FOR_THE_HOST}
    if not fields.get("isolate", True):
        fields = {key: fields[key] for key in fields if key not in NEED_ISOLATION}
        return ContainerConfig(
            argv=argv, rootfs="host", network="host", hostname=default_hostname, **fields
        )
    hostname = fields.pop("hostname", default_hostname)
    rootfs = fields.pop("rootfs", "busybox")
    return ContainerConfig(argv=argv, rootfs=rootfs, hostname=hostname, **fields)


def _parse_rootfs(value: object, place: Place) -> str:
    if value in {"busybox", "host"}:
        return str(value)
    return parse_path(value, place)


def _parse_volume(value: object, place: Place) -> tuple[str, str, bool]:
    source, destination, read_only = parse_volume(parse_text(value, place))
    volume = _check(Volume, place.make_absolute(source), destination, read_only=read_only)
    return volume.source, volume.destination, volume.read_only


def _parse_tmpfs(value: object, place: Place) -> tuple[str, int | None, int]:
    tmpfs = _check(Tmpfs, *parse_tmpfs(parse_text(value, place)))
    return tmpfs.destination, tmpfs.size, tmpfs.mode


def _parse_limit(value: object, place: Place) -> tuple[str, int, int]:
    name = str(place.key[-1])
    if isinstance(value, int) and not isinstance(value, bool):
        soft, hard = value, value
    elif isinstance(value, str):
        soft, hard = parse_limits(parse_text(value, place))
    else:
        shown = render_value(value)
        raise MistakeError(f"must be a number, 'SOFT:HARD' or 'unlimited', not {shown}")
    _check(Rlimit, name, soft, hard)
    return name, soft, hard


def _parse_writable(value: object, place: Place) -> str:
    path = parse_path(value, place)
    _check(check_writable, path)
    return path


def _parse_capability(value: object, place: Place) -> str:
    return parse_capability(parse_text(value, place))


def _parse_seccomp(value: object, place: Place) -> tuple[str, str]:
    word = parse_text(value, place)
    path = word if word in {DEFAULT, UNCONFINED} else place.make_absolute(word)
    return path, read_seccomp(word, path)


def _parse_umask(value: object, place: Place) -> int:
    if not isinstance(value, str):  # 022 is no TOML, and 22 would be another mask
        raise MistakeError(f"must be text such as '022', not {render_value(value)}")
    return parse_umask(parse_text(value, place))


def _parse_affinity(value: object, place: Place) -> tuple[int, ...]:
    if isinstance(value, str):
        return parse_affinity(parse_text(value, place))
    if not isinstance(value, list):
        raise MistakeError(
            f"must be an array of CPUs, or text such as '0-1,3', not {render_value(value)}"
        )
    if not value:
        raise MistakeError("must have at least one CPU")
    return tuple(sorted(set(each_of(whole(0, MAX_CPU))(value, place))))


def _parse_variable(value: object, place: Place) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = render_value(value)
    text = parse_text(value, place)
    check_spec(env={str(place.key[-1]): text})
    return text


def _parse_network(value: object, place: Place) -> str:
    if isinstance(value, str) and value.startswith("job:"):
        return f"job:{parse_name(value.removeprefix('job:'), place)}"
    return str(one_of("none", "host", "job:NAME")(value, place))


def _check(made: Callable[..., Any], *values: Any, **fields: Any) -> Any:  # noqa: ANN401 - what TOML has
    try:
        return made(*values, **fields)
    except SpecError as error:
        raise MistakeError(str(error)) from None


CONTAINER_KEYS: dict[str, Parse] = {
    "command": parse_command,
    "rootfs": _parse_rootfs,
    "rootfs_mode": one_of(*ROOTFS_MODES),
    "read_only": parse_boolean,
    "volumes": each_of(_parse_volume),
    "tmpfs": each_of(_parse_tmpfs),
    "env": map_of(_parse_variable),
    "env_file": one_or_each_of(parse_path),
    "workdir": spec_field("workdir", parse_text),
    "user": spec_field("user", parse_text),
    "hostname": spec_field("hostname", parse_text),
    "network": _parse_network,
    "userns": one_of(*USER_NAMESPACES),
    "cap_add": each_of(_parse_capability),
    "seccomp": _parse_seccomp,
    "cap_drop": each_of(_parse_capability),
    "allow_new_privs": parse_boolean,
    "umask": _parse_umask,
    "nice": whole(*NICE_VALUES),
    "oom_score_adj": whole(*OOM_SCORES),
    "cpu_affinity": _parse_affinity,
    "ulimits": map_of(_parse_limit),
    "memory": size(LEAST_MEMORY, MOST_MEMORY),
    "cpus": number(LEAST_CPUS, MOST_CPUS),
    "pids": whole(LEAST_PIDS, MOST_PIDS),
    "io_weight": whole(LEAST_WEIGHT, MOST_WEIGHT),
    "isolate": parse_boolean,
    "landlock": parse_boolean,
    "writable": each_of(_parse_writable),
}
