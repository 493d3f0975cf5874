"""Profiles in docker's format, and what becomes of calls under them."""

import json
from collections.abc import Callable, Iterable, Mapping
from errno import ENOSYS, EPERM

from mocker.isolation.seccomp.docker_format import parse_profile
from mocker.isolation.seccomp.profile import compile_profile, plan_profile
from mocker.isolation.seccomp.ranges import compile_policies
from mocker.isolation.seccomp.tables import read_table
from tests.isolation.seccomp import docker_allows
from tests.isolation.seccomp.bpf_machine import read_program, run_filter
from tests.isolation.seccomp.libseccomp import ARCHITECTURES
from tests.isolation.seccomp.libseccomp import Rule as TheirRule

KERNEL = (6, 1)
ALLOW_ALL = {"defaultAction": "SCMP_ACT_ALLOW"}
DENY_ALL = {"defaultAction": "SCMP_ACT_ERRNO"}

# Docker's words for machines, by the table; those with two have the words of the greater one.
MACHINES = {"x86_64": "amd64", "i386": "amd64", "aarch64": "arm64", "arm": "arm64"}

Decide = Callable[..., int]


def write(document: Mapping[str, object], *entries: Mapping[str, object]) -> str:
    """Return the text of a profile with these entries."""
    return json.dumps({**document, "syscalls": list(entries)} if entries else document)


def write_dockers() -> str:
    """Return docker's own profile, with all that its format has for it."""
    document = {
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "archMap": [
            {
                "architecture": f"SCMP_ARCH_{name}",
                "subArchitectures": [f"SCMP_ARCH_{other}" for other in others] or None,
            }
            for name, others in docker_allows.ARCHITECTURES.items()
        ],
    }
    below = {"index": 0, "value": docker_allows.FAMILIES_BELOW, "op": "SCMP_CMP_LT"}
    above = map(_equal, docker_allows.FAMILIES_FROM_THERE)
    admin, s390 = ["CAP_SYS_ADMIN"], ["s390", "s390x"]
    flags = {"value": docker_allows.NEW_NAMESPACES, "op": "SCMP_CMP_MASKED_EQ"}
    return write(
        document,
        _allow(docker_allows.ALWAYS),
        _allow(docker_allows.SINCE_4_8, includes={"minKernel": "4.8"}),
        *(_allow(["socket"], args=[family]) for family in (below, *above)),
        *(_allow(["personality"], args=[_equal(word)]) for word in docker_allows.PERSONALITIES),
        *(
            _allow(names.split(), includes={"arches": machines})
            for machines, names in docker_allows.BY_MACHINE.items()
        ),
        *(
            _allow(names.split(), includes={"caps": [f"CAP_{name}"]})
            for name, names in docker_allows.BY_CAPABILITY.items()
        ),
        _allow(["clone"], args=[{"index": 0, **flags}], excludes={"caps": admin, "arches": s390}),
        _allow(
            ["clone"],
            args=[{"index": 1, **flags}],
            comment="where the arguments of clone have another order",
            includes={"arches": s390},
            excludes={"caps": admin},
        ),
        {
            "names": ["clone3"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": ENOSYS,
            "excludes": {"caps": admin},
        },
    )


def decide_with(text: str, table: str, capabilities: frozenset[str] = frozenset()) -> Decide:
    """Return what says what becomes of a call, by its name or number, in one table alone."""
    profile = parse_profile(text)
    entries = [e for e in profile.entries if e.counts(MACHINES[table], capabilities, KERNEL)]
    policy = plan_profile(table, profile.default, entries)
    number = ARCHITECTURES[table]
    program = read_program(compile_policies({table: policy}, [(table, number)]))

    def decide(call: str | int, *arguments: int) -> int:
        found = read_table(table)[call] if isinstance(call, str) else call
        return run_filter(program, number, found, arguments)

    return decide


def decide_here(text: str, table: str, capabilities: frozenset[str] = frozenset()) -> Decide:
    """Return what says what becomes of a call under the filter that this machine would load."""
    program = read_program(compile_profile(text, capabilities))

    def decide(call: str, *arguments: int) -> int:
        return run_filter(program, ARCHITECTURES[table], read_table(table)[call], arguments)

    return decide


def write_for_libseccomp(text: str, default: int) -> list[TheirRule]:
    """Return the entries of a profile that say another thing than its default, as docker does."""
    return [
        (entry.action, name, entry.conditions)
        for entry in parse_profile(text).entries
        for name in entry.names
        if entry.action != default
    ]


def _allow(names: Iterable[str], **circumstances: object) -> Mapping[str, object]:
    return {"names": sorted(names), "action": "SCMP_ACT_ALLOW", **circumstances}


def _equal(value: int) -> Mapping[str, object]:
    return {"index": 0, "value": value, "op": "SCMP_CMP_EQ"}
