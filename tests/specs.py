"""Descriptions of containers for hypothesis: any that is valid, of sources that every host has."""

from hypothesis import strategies as st

from mocker.isolation import ContainerSpec, Limits, Rlimit, SpecError, Tmpfs, Volume
from mocker.isolation.capabilities import ALL, NUMBERS
from mocker.isolation.checks import MAX_CPU, MAX_UMASK, NICE_VALUES, OOM_SCORES
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
from mocker.isolation.spec import RLIMIT_NAMES
from tests.containers import make_spec

SOURCES = ("/usr", "/etc/passwd", "/")

words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=10)
names = st.from_regex(r"[a-z][a-z0-9]{0,5}", fullmatch=True)
destinations = st.lists(names, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
free_destinations = destinations.filter(lambda path: path.split("/")[1] != "proc")
volumes = st.builds(Volume, st.sampled_from(SOURCES), free_destinations, read_only=st.booleans())
tmpfs = st.builds(
    Tmpfs, free_destinations, st.none() | st.integers(1, 2**40), st.integers(0, 0o7777)
)
rlimits = st.builds(Rlimit, st.sampled_from(RLIMIT_NAMES), st.integers(0, 2**40))
limits = st.builds(
    Limits,
    memory=st.none() | st.integers(LEAST_MEMORY, MOST_MEMORY),
    cpus=st.none() | st.floats(LEAST_CPUS, MOST_CPUS),
    pids=st.none() | st.integers(LEAST_PIDS, MOST_PIDS),
    io_weight=st.none() | st.integers(LEAST_WEIGHT, MOST_WEIGHT),
)
capabilities = st.sampled_from([ALL, *NUMBERS])
fields = st.fixed_dictionaries(
    {"argv": st.lists(words, min_size=1, max_size=4).filter(lambda argv: argv[0] != "")},
    optional={
        "rootfs": st.sampled_from(["busybox", "host", "/", "/usr"]),
        "rootfs_mode": st.sampled_from(["overlay", "rw"]),
        "read_only": st.booleans(),
        "volumes": st.lists(volumes, max_size=4),
        "tmpfs": st.lists(tmpfs, max_size=4),
        "env": st.dictionaries(names, words, max_size=3),
        "workdir": st.none() | destinations,
        "user": st.none() | names | st.builds("{}:{}".format, names, names),
        "hostname": names,
        "network": st.sampled_from(["none", "host", "shared"]),
        "isolate": st.booleans(),
        "landlock": st.booleans(),
        "writable": st.none() | st.lists(destinations, max_size=2),
        "notify": st.none() | names,
        "ready_fd": st.none() | st.integers(3, 255),
        "cap_add": st.lists(capabilities, max_size=3),
        "cap_drop": st.lists(capabilities, max_size=3),
        "allow_new_privs": st.booleans(),
        "umask": st.integers(0, MAX_UMASK),
        "nice": st.none() | st.integers(*NICE_VALUES),
        "oom_score_adj": st.none() | st.integers(*OOM_SCORES),
        "cpu_affinity": st.none() | st.sets(st.integers(0, MAX_CPU), min_size=1, max_size=3),
        "rlimits": st.lists(rlimits, max_size=3),
        "limits": st.none() | limits,
        "grace": st.floats(0, 100),
        "stop_signal": st.sampled_from([1, 2, 15]),
        "terminal": st.booleans(),
        "seccomp": st.sampled_from(
            [None, "default", "unconfined", '{"defaultAction": "SCMP_ACT_ALLOW"}']
        ),
    },
)


@st.composite
def specs(draw: st.DrawFn) -> ContainerSpec:
    """Return any valid spec; those that contradict themselves are left out."""
    while True:
        try:
            return make_spec(**draw(fields))
        except SpecError:
            continue
