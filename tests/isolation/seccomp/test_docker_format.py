import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation.seccomp.docker_format import parse_profile
from tests.isolation.seccomp.profiles import ALLOW_ALL, write

ENTRY: dict[str, object] = {"names": ["chdir"], "action": "SCMP_ACT_ALLOW"}
ACTIONS = (
    "SCMP_ACT_ALLOW, SCMP_ACT_ERRNO, SCMP_ACT_KILL, SCMP_ACT_KILL_PROCESS, SCMP_ACT_KILL_THREAD, "
    "SCMP_ACT_LOG, SCMP_ACT_TRACE, SCMP_ACT_TRAP"
)
FLAG = "SECCOMP_FILTER_FLAG_TSYNC"
COMPARE = {"index": 0, "op": "SCMP_CMP_EQ"}

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
keys = [
    *("defaultAction", "archMap", "architectures", "syscalls", "names", "args", "action", "index"),
    *("flags", "listenerPath", "listenerMetadata"),
]


def entry(**fields: object) -> str:
    return write(ALLOW_ALL, {**ENTRY, **fields})


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("", "must be JSON: Expecting value: line 1 column 1 (char 0)"),
        ("{'a': 1}", "must be JSON: Expecting property name enclosed in double quotes: line 1"),
        ("[" * 100_000, "must be JSON that is not nested so deep"),
        ("[]", "must be a table, not []"),
        ("3", "must be a table, not 3"),
        ("{}", f"defaultAction must be one of {ACTIONS}, not missing"),
        ('{"defaultAction": "ALLOW"}', f'defaultAction must be one of {ACTIONS}, not "ALLOW"'),
        (
            write({**ALLOW_ALL, "syscall": []}),
            "syscall is no key; there are defaultAction, default",
        ),
        (write({**ALLOW_ALL, "syscalls": {}}), "syscalls must be a list, not {}"),
        (write({**ALLOW_ALL, "flags": "x"}), 'flags must be a list, not "x"'),
        (
            write({**ALLOW_ALL, "flags": [FLAG, "SECCOMP_FILTER_FLAG_LOG"]}),
            f"flags[1] must be one of {FLAG}, SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV, "
            'SECCOMP_FILTER_FLAG_SPEC_ALLOW, not "SECCOMP_FILTER_FLAG_LOG"',
        ),
        (write({**ALLOW_ALL, "flags": [None]}), f"flags[0] must be one of {FLAG}, "),
        (write({**ALLOW_ALL, "flags": [[]]}), f"flags[0] must be one of {FLAG}, "),
        (
            write({**ALLOW_ALL, "listenerPath": "/run/listener"}),
            'listenerPath must be empty, as nobody can be asked, not "/run/listener"',
        ),
        (
            write({**ALLOW_ALL, "listenerMetadata": ["x"]}),
            'listenerMetadata must be empty, as nobody can be asked, not ["x"]',
        ),
        (
            write({**ALLOW_ALL, "defaultErrnoRet": 5}),
            "defaultAction must be SCMP_ACT_ERRNO or SCMP",
        ),
        (write({**ALLOW_ALL, "syscalls": ["read"]}), 'syscalls[0] must be a table, not "read"'),
        (write(ALLOW_ALL, ENTRY, {"names": ["x"]}), "syscalls[1].action must be one of SCMP_ACT_"),
        (write(ALLOW_ALL, {"action": "SCMP_ACT_LOG"}), "syscalls[0] must have names"),
        (entry(name="x"), "syscalls[0] must have name or names, not both"),
        (entry(names=[7]), "syscalls[0].names[0] must be a text, not 7"),
        (entry(names=[""]), 'syscalls[0].names[0] must be a text, not ""'),
        (entry(action="SCMP_ACT_NOTIFY"), "syscalls[0].action must not be SCMP_ACT_NOTIFY: nobody"),
        (entry(errnoRet=1), "syscalls[0].action must be SCMP_ACT_ERRNO or SCMP_ACT_TRACE, as th"),
        (
            entry(action="SCMP_ACT_ERRNO", errnoRet=4096),
            "syscalls[0].errnoRet must be a whole number up to 4095, not 4096",
        ),
        (
            entry(action="SCMP_ACT_ERRNO", errnoRet=True),
            "syscalls[0].errnoRet must be a whole number up to 4095, not true",
        ),
        (
            entry(action="SCMP_ACT_ERRNO", errnoRet=1, errno="ENOENT"),
            "syscalls[0].errnoRet and syscalls[0].errno must be the same",
        ),
        (
            entry(action="SCMP_ACT_ERRNO", errno="EFUNNY"),
            'syscalls[0].errno must be the name of an error such as EPERM, not "EFUNNY"',
        ),
        (entry(args=[{"op": "SCMP_CMP_EQ"}]), "syscalls[0].args[0] must have an index"),
        (entry(args=[{"index": 0}]), "syscalls[0].args[0].op must be one of SCMP_CMP_EQ, "),
        (
            entry(args=[{**COMPARE, "index": 6}]),
            "syscalls[0].args[0].index must be a whole number up to 5, not 6",
        ),
        (
            entry(args=[{**COMPARE, "value": -1}]),
            "syscalls[0].args[0].value must be a whole number up to 18446744073709551615, not -1",
        ),
        (entry(args=[{**COMPARE, "value": 1.5}]), "syscalls[0].args[0].value must be a whole numb"),
        (
            entry(args=[{**COMPARE, "mask": 1}]),
            "syscalls[0].args[0].mask is no key; there are inde",
        ),
        (entry(args=[COMPARE, COMPARE]), "syscalls[0].args must not have an index twice: some"),
        (entry(includes=[]), "syscalls[0].includes must be a table, not []"),
        (
            entry(includes={"caps": ["SYS_ADMIN"]}),
            "syscalls[0].includes.caps[0] must be a name tha",
        ),
        (
            entry(excludes={"minKernel": "six"}),
            "syscalls[0].excludes.minKernel must be a version such as '4.8', not 'six'",
        ),
        (
            write({**ALLOW_ALL, "architectures": ["amd64"]}),
            'architectures[0] must be a name that begins with SCMP_ARCH_, not "amd64"',
        ),
        (
            write({**ALLOW_ALL, "archMap": [{"subArchitectures": []}]}),
            "archMap[0].architecture must be a name that begins with SCMP_ARCH_, not missing",
        ),
        (
            write(
                {
                    **ALLOW_ALL,
                    "architectures": ["SCMP_ARCH_X86"],
                    "archMap": [{"architecture": "SCMP_ARCH_X86_64"}],
                }
            ),
            "must have architectures or archMap, not both",
        ),
        (entry(comment="x" * 99, names="y" * 99), 'syscalls[0].names must be a list, not "yyyyy'),
    ],
)
def test_mistake_is_told_with_its_place(text: str, mistake: str) -> None:
    with pytest.raises(ValueError) as refused:  # noqa: PT011 - the sentence is what is looked at
        parse_profile(text)

    assert str(refused.value).startswith(mistake)
    assert len(str(refused.value)) < 300


@given(
    json_values
    | st.dictionaries(st.sampled_from(keys), json_values)
    | st.lists(st.dictionaries(st.sampled_from(keys), json_values), max_size=3).map(
        lambda found: {**ALLOW_ALL, "syscalls": found}
    )
)
def test_whatever_is_no_profile_is_told_in_a_sentence(document: object) -> None:
    with pytest.raises(ValueError, match=r"must|no key"):  # and nothing else
        parse_profile(json.dumps([document]))
    with contextlib.suppress(ValueError):
        parse_profile(json.dumps(document))


@pytest.mark.parametrize(
    "fields",
    [
        {"flags": []},
        {"flags": None, "listenerPath": None, "listenerMetadata": None},
        {"listenerPath": "", "listenerMetadata": ""},
        {"flags": [FLAG]},
        {"flags": [FLAG.replace("TSYNC", name) for name in ("WAIT_KILLABLE_RECV", "SPEC_ALLOW")]},
    ],
)
def test_what_has_no_effect_is_taken(fields: dict[str, object]) -> None:
    found = parse_profile(write({**ALLOW_ALL, **fields}))

    assert found.default == parse_profile(write(ALLOW_ALL)).default


def test_comments_are_passed_over() -> None:
    (found,) = parse_profile(entry(comment="for the old ones")).entries

    assert found.names == ("chdir",)
