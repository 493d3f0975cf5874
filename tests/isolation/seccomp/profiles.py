"""Profiles in docker's format, and what becomes of calls under them."""

import json
from collections.abc import Callable, Mapping

from mocker.isolation.seccomp.docker_format import parse_profile
from mocker.isolation.seccomp.profile import compile_profile, plan_profile
from mocker.isolation.seccomp.ranges import compile_policies
from mocker.isolation.seccomp.tables import read_table
from tests.isolation.seccomp.bpf_machine import read_program, run_filter
from tests.isolation.seccomp.libseccomp import ARCHITECTURES
from tests.isolation.seccomp.libseccomp import Rule as TheirRule

KERNEL = (6, 1)
ALLOW_ALL = {"defaultAction": "SCMP_ACT_ALLOW"}
DENY_ALL = {"defaultAction": "SCMP_ACT_ERRNO"}

Decide = Callable[..., int]


def write(document: Mapping[str, object], *entries: Mapping[str, object]) -> str:
    """Return the text of a profile with these entries."""
    return json.dumps({**document, "syscalls": list(entries)} if entries else document)


def decide_with(text: str, table: str, capabilities: frozenset[str] = frozenset()) -> Decide:
    """Return what says what becomes of a call, by its name or number, in one table alone."""
    profile = parse_profile(text)
    machine = {"x86_64": "amd64", "i386": "amd64", "aarch64": "arm64", "arm": "arm64"}[table]
    entries = [e for e in profile.entries if e.counts(machine, capabilities, KERNEL)]
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
