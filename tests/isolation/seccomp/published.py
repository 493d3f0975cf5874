"""Profiles as others publish them: tests/fetch has brought them.

They are read here a second time, as docker's runtime does, so that what mocker makes of them is not
held against its own reading.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from errno import EPERM
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from mocker.isolation.seccomp.bpf import ALLOW, EQ, ERRNO, NE, WORD, Condition
from tests.isolation.seccomp.libseccomp import Rule
from tests.isolation.seccomp.profiles import MACHINES
from tests.requirements import requires

NAMES = ("docker", "docker-of-old", "podman", "flatpak")
_DIRECTORY = Path(sys.prefix, "profiles")
_ACTIONS = {"SCMP_ACT_ALLOW": ALLOW, "SCMP_ACT_ERRNO": ERRNO}
_OPERATORS = {"SCMP_CMP_EQ": EQ, "SCMP_CMP_NE": NE}


def find_profile(name: str) -> Path:
    """Return where a profile is, if it is there."""
    return _DIRECTORY / f"{name}.json"


def read_profile(name: str) -> str:
    """Return the text of a profile."""
    return find_profile(name).read_text()


@cache
def _find_obstacle() -> str:
    missing = [str(path) for path in map(find_profile, NAMES) if not path.exists()]
    return f"tests/run could not fetch {', '.join(missing)}" if missing else ""


requires_published_profiles = requires(_find_obstacle)
each_profile = pytest.mark.parametrize("profile", NAMES)


def list_capabilities(profile: str) -> set[str]:
    """Return those on which anything depends."""
    entries = json.loads(read_profile(profile))["syscalls"]
    found = [(entry.get(key) or {}) for entry in entries for key in ("includes", "excludes")]
    return {name.removeprefix("CAP_") for each in found for name in each.get("caps") or []}


def list_entries(profile: str, table: str, capabilities: frozenset[str]) -> list[dict[str, Any]]:
    """Return the entries that count for a table on its machine, with Linux 4.8 or later."""
    caps = {f"CAP_{name}" for name in capabilities}
    machine = MACHINES[table]
    found = list[dict[str, Any]]()
    for entry in json.loads(read_profile(profile))["syscalls"]:
        inside, outside = entry.get("includes") or {}, entry.get("excludes") or {}
        assert {*inside, *outside} <= {"arches", "caps", "minKernel"}
        assert inside.get("minKernel", "4.8") == "4.8"
        if (
            machine in (inside.get("arches") or [machine])
            and caps.issuperset(inside.get("caps") or [])
            and machine not in (outside.get("arches") or [])
            and caps.isdisjoint(outside.get("caps") or [])
        ):
            found.append(entry)
    return found


def read_rules(
    profile: str, table: str, capabilities: frozenset[str]
) -> tuple[int, dict[str, list[Rule]]]:
    """Return what becomes of any other call, and the rules for each that they are about."""
    document = json.loads(read_profile(profile))
    default = _read_action(document["defaultAction"], document.get("defaultErrnoRet"))
    rules = dict[str, list[Rule]]()
    for entry in list_entries(profile, table, capabilities):
        action = _read_action(entry["action"], entry.get("errnoRet"))
        conditions = tuple(_read_conditions(entry.get("args") or []))
        for name in entry.get("names") or [entry["name"]]:
            rules.setdefault(name, []).append((action, name, conditions))
    return default, rules


def _read_action(word: str, number: int | None) -> int:
    action = _ACTIONS[word]
    return action if action == ALLOW else action | (EPERM if number is None else number)


def _read_conditions(arguments: list[Mapping[str, Any]]) -> Iterator[Condition]:
    for argument in arguments:
        if argument["op"] == "SCMP_CMP_MASKED_EQ":
            yield argument["index"], argument["value"], EQ, argument.get("valueTwo", 0)
        else:
            yield argument["index"], WORD, _OPERATORS[argument["op"]], argument["value"]
