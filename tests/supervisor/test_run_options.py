import signal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.isolation import ContainerSpec, SpecError
from mocker.isolation.spec import RLIMIT_NAMES
from mocker.supervisor.run_options import RunRequest, parse_run_arguments, render_help


def parse(*words: str, terminal: bool = False, default: str = "busybox") -> RunRequest:
    request = parse_run_arguments(words, lambda: default, terminal=terminal)
    assert request is not None
    return request


def spec_of(*words: str, terminal: bool = False) -> ContainerSpec:
    return parse(*words, "true", terminal=terminal).spec


@pytest.mark.parametrize(
    ("words", "field", "value"),
    [
        (["--rootfs", "host"], "rootfs", "host"),
        (["--rootfs=busybox"], "rootfs", "busybox"),
        (["--rootfs", "/srv/root"], "rootfs", "/srv/root"),
        (["--rootfs", "/srv/../srv/./root/"], "rootfs", "/srv/root"),
        (["--rootfs", "/srv", "--rootfs-mode", "rw"], "rootfs_mode", "rw"),
        (["--read-only"], "read_only", True),
        ([], "read_only", False),
        (["-w", "/srv"], "workdir", "/srv"),
        (["--workdir=/srv"], "workdir", "/srv"),
        ([], "workdir", None),
        (["-u", "ann"], "user", "ann"),
        (["--user", "1000:100"], "user", "1000:100"),
        ([], "user", None),
        (["--name", "web"], "hostname", "web"),
        (["--hostname", "web"], "hostname", "web"),
        (["--name", "web", "--hostname", "other"], "hostname", "other"),
        (["--hostname", "other", "--name", "web"], "hostname", "other"),
        ([], "hostname", "containerhostname"),
        (["--network", "host"], "network", "host"),
        ([], "network", "none"),
        (["--userns", "host"], "userns", "host"),
        ([], "userns", "private"),
        (["--cap-add", "cap_net_raw", "--cap-add=all"], "cap_add", ("ALL", "NET_RAW")),
        ([], "cap_add", ()),
        (["--cap-drop", "all"], "cap_drop", ("ALL",)),
        ([], "cap_drop", ()),
        (["--allow-new-privs"], "allow_new_privs", True),
        ([], "allow_new_privs", False),
        (["--seccomp", "unconfined"], "seccomp", "unconfined"),
        (["--seccomp=default"], "seccomp", "default"),
        ([], "seccomp", "default"),
        (["--umask", "077"], "umask", 0o77),
        ([], "umask", 0o22),
        (["--nice", "-5"], "nice", -5),
        ([], "nice", None),
        (["--oom-score-adj=500"], "oom_score_adj", 500),
        ([], "oom_score_adj", None),
        (["--cpu-affinity", "0-1,3"], "cpu_affinity", (0, 1, 3)),
        ([], "cpu_affinity", None),
        (["--grace", "500ms"], "grace", 0.5),
        (["--grace=0"], "grace", 0.0),
        ([], "grace", 10.0),
        (["--stop-signal", "INT"], "stop_signal", signal.SIGINT),
        (["--stop-signal", "SIGINT"], "stop_signal", signal.SIGINT),
        (["--stop-signal", "sigint"], "stop_signal", signal.SIGINT),
        (["--stop-signal", "2"], "stop_signal", signal.SIGINT),
        (["--stop-signal", "RTMIN"], "stop_signal", signal.SIGRTMIN),
        ([], "stop_signal", signal.SIGTERM),
        (["-e", "A=1"], "env", {"A": "1"}),
        (["-e", "A=1", "--env", "B=2=3", "-eC="], "env", {"A": "1", "B": "2=3", "C": ""}),
        (["-e", "A=1", "-e", "A=2"], "env", {"A": "2"}),
        (["-e", "FROM_CALLER"], "env", {"FROM_CALLER": "its value"}),
        (["-e", "NOT_IN_CALLER"], "env", {}),
        ([], "env", {}),
        (["-i"], "terminal", False),
        (["-t"], "terminal", False),
    ],
)
def test_option_sets_a_field_of_the_spec(
    monkeypatch: pytest.MonkeyPatch, words: list[str], field: str, value: object
) -> None:
    monkeypatch.setenv("FROM_CALLER", "its value")

    assert getattr(spec_of(*words), field) == value


@pytest.mark.parametrize(
    ("words", "volumes"),
    [
        ([], []),
        (["-v", "/a:/b"], [("/a", "/b", False)]),
        (["-v", "/a:/b:ro"], [("/a", "/b", True)]),
        (["--volume=/a:/b:rw"], [("/a", "/b", False)]),
        (["-v", "/a:/b", "-v/c:/d:ro"], [("/a", "/b", False), ("/c", "/d", True)]),
        (["-v", "/a/../x/:/b/./c/"], [("/x", "/b/c", False)]),
        (["-v", "/with space:/dst"], [("/with space", "/dst", False)]),
    ],
)
def test_volume_is_a_source_and_a_destination(
    words: list[str], volumes: list[tuple[str, str, bool]]
) -> None:
    made = spec_of(*words).volumes

    assert [(v.source, v.destination, v.read_only) for v in made] == volumes


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("/a", ("/a", None, 0o1777)),
        ("/a:size=64m", ("/a", 2**26, 0o1777)),
        ("/a:mode=700", ("/a", None, 0o700)),
        ("/a:mode=0755,size=1k", ("/a", 1024, 0o755)),
        ("/a:", ("/a", None, 0o1777)),
        ("/a:size=1k,size=2k", ("/a", 2048, 0o1777)),
    ],
)
def test_tmpfs_is_a_destination_with_a_size_and_a_mode(
    word: str, expected: tuple[str, int | None, int]
) -> None:
    (tmpfs,) = spec_of("--tmpfs", word).tmpfs

    assert (tmpfs.destination, tmpfs.size, tmpfs.mode) == expected


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-m", "256M"], (2**28, None, None)),
        (["-m256m", "--memory", "512m"], (2**29, None, None)),
        (["--memory", "1G", "--cpus", "1.5", "--pids-limit", "100"], (2**30, 1.5, 100)),
        (["--cpus=2"], (None, 2.0, None)),
        (["--cpus", ".5"], (None, 0.5, None)),
        (["--pids-limit", "2"], (None, None, 2)),
    ],
)
def test_limits_are_written_as_docker_has_them(
    words: list[str], expected: tuple[int | None, float | None, int | None]
) -> None:
    limits = spec_of(*words).limits

    assert limits is not None
    assert (limits.memory, limits.cpus, limits.pids) == expected


def test_without_an_option_nothing_is_limited() -> None:
    assert spec_of().limits is None


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("nofile=1024", ("nofile", 1024, 1024)),
        ("nofile=1024:4096", ("nofile", 1024, 4096)),
        ("core=0", ("core", 0, 0)),
        ("core=0:", ("core", 0, 0)),
        ("core=unlimited", ("core", -1, -1)),
        ("core=-1", ("core", -1, -1)),
        ("core=0:unlimited", ("core", 0, -1)),
        ("core=0:-1", ("core", 0, -1)),
    ],
)
def test_ulimit_is_a_soft_and_a_hard_limit(word: str, expected: tuple[str, int, int]) -> None:
    (limit,) = spec_of("--ulimit", word).rlimits

    assert (limit.name, limit.soft, limit.hard) == expected


@pytest.mark.parametrize("name", RLIMIT_NAMES)
def test_every_limit_of_the_kernel_has_a_name(name: str) -> None:
    assert spec_of("--ulimit", f"{name}=1").rlimits[0].name == name


def test_of_a_ulimit_that_is_given_twice_the_last_counts() -> None:
    spec = spec_of("--ulimit", "nofile=100", "--ulimit", "core=0", "--ulimit", "nofile=200")

    assert {limit.name: limit.hard for limit in spec.rlimits} == {"nofile": 200, "core": 0}
    assert len(spec.rlimits) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "a command is needed; see 'mocker run --help'"),
        (["-i"], "a command is needed"),
        (["--"], "a command is needed"),
        ([""], "a container needs a command"),
        (["--nosuch", "true"], "unknown option '--nosuch'"),
        (["--rootf", "host", "true"], "unknown option '--rootf'; did you mean '--rootfs'?"),
        (
            ["--log-driver", "journald", "true"],
            "unknown option '--log-driver'; did you mean '--log'?",
        ),
        (["--security-opt", "x", "true"], "unknown option '--security-opt'; --seccomp FILTER does"),
        (
            ["--privileged", "true"],
            "unknown option '--privileged'; what comes nearest is --cap-add",
        ),
        (["--mount", "x", "true"], "unknown option '--mount'; -v and --tmpfs do that"),
        (["-d", "true"], "unknown option '-d'; mocker-supervise keeps jobs in the background"),
        (["-p", "80:80", "true"], "unknown option '-p'; with --network host its ports are"),
        (["--restart=always", "true"], "unknown option '--restart'; mocker-supervise starts"),
        (["-w"], "-w needs a value, DIR"),
        (["--read-only=yes", "true"], "--read-only takes no value, not 'yes'"),
        (["--rootfs", "", "true"], "--rootfs must be busybox, host or a directory, not ''"),
        (["--rootfs-mode", "ro", "true"], "rootfs mode must be one of 'overlay', 'rw', not 'ro'"),
        (["--rootfs-mode", "rw", "true"], "rootfs mode 'rw' needs a directory"),
        (["--network", "bridge", "true"], "network must be one of 'none', 'host', not 'bridge'"),
        (["--network", "shared", "true"], "network must be one of 'none', 'host', not 'shared'"),
        (["--userns", "keep-id", "true"], "userns must be one of 'private', 'host'"),
        (["-v", "/a", "true"], "--volume must be SRC:DST or SRC:DST:ro, not '/a'"),
        (["-v", "", "true"], "--volume must be SRC:DST or SRC:DST:ro, not ''"),
        (["-v", ":/b", "true"], "--volume must be SRC:DST or SRC:DST:ro, not ':/b'"),
        (["-v", "/a:/b:Z", "true"], "--volume must be SRC:DST or SRC:DST:ro, not '/a:/b:Z'"),
        (["-v", "/a:/b:ro:rw", "true"], "--volume must be SRC:DST or SRC:DST:ro"),
        (["-v", "/a:", "true"], "volume destination must be an absolute path, not ''"),
        (["-v", "/a:b", "true"], "volume destination must be an absolute path, not 'b'"),
        (["-v", "/a:/../b", "true"], "volume destination must not contain '..'"),
        (["-v", "/a:/x", "-v", "/b:/x", "true"], "two volumes or tmpfs have the destination '/x'"),
        (["--tmpfs", "", "true"], "tmpfs destination must be an absolute path, not ''"),
        (["--tmpfs", "a", "true"], "tmpfs destination must be an absolute path, not 'a'"),
        (["--tmpfs", "/a:size=", "true"], "--tmpfs size must be a size such as"),
        (["--tmpfs", "/a:size=0", "true"], "tmpfs size must be at least 1 byte, not 0"),
        (["--tmpfs", "/a:size=lots", "true"], "--tmpfs size must be a size such as"),
        (["--tmpfs", "/a:mode=9", "true"], "--tmpfs takes size=… and mode=…, not 'mode=9'"),
        (["--tmpfs", "/a:mode=", "true"], "--tmpfs takes size=… and mode=…, not 'mode='"),
        (["--tmpfs", "/a:mode=17777", "true"], "tmpfs mode must be an octal number up to 7777"),
        (["--tmpfs", "/a:ro", "true"], "--tmpfs takes size=… and mode=…, not 'ro'"),
        (["-e", "", "true"], "--env must be KEY or KEY=VALUE, not ''"),
        (["-e", "=x", "true"], "--env must be KEY or KEY=VALUE, not '=x'"),
        (["--env-file", "/no/such", "true"], "cannot read --env-file '/no/such': No such file"),
        (["--env-file", "/", "true"], "cannot read --env-file '/': Is a directory"),
        (["-w", "srv", "true"], "workdir must be an absolute path, not 'srv'"),
        (["-u", "", "true"], "user must be USER[:GROUP]"),
        (["-u", "a:", "true"], "user must be USER[:GROUP]"),
        (["--hostname", "a b", "true"], "host name must be one printable word"),
        (["--hostname", "a" * 65, "true"], "host name must have 1 to 64 bytes"),
        (["--hostname", "", "true"], "host name must have 1 to 64 bytes"),
        (["--name", "", "true"], "host name must have 1 to 64 bytes"),
        (["-m", "", "true"], "--memory must be a size such as '64k', '64M' or '1G', not ''"),
        (["--memory", "lots", "true"], "--memory must be a size"),
        (["--memory=-1", "true"], "--memory must be a size"),
        (["--memory", "5M", "true"], "memory must be 6291456 to"),
        (["--cpus", "", "true"], "--cpus must be a number of CPUs such as 1.5, not ''"),
        (["--cpus", "1.5.0", "true"], "--cpus must be a number of CPUs"),
        (["--cpus", "-1", "true"], "--cpus must be a number of CPUs"),
        (["--cpus", "nan", "true"], "--cpus must be a number of CPUs"),
        (["--cpus", ".", "true"], "--cpus must be a number of CPUs"),
        (["--cpus", "0", "true"], "cpus must be 0.01 to 8192.0, not 0.0"),
        (["--pids-limit", "", "true"], "--pids-limit must be a whole number above 0, not ''"),
        (
            ["--pids-limit", "-1", "true"],
            "--pids-limit must be a whole number above 0, not '-1'; with",
        ),
        (["--pids-limit", "9" * 5000, "true"], "--pids-limit must be a whole number above 0"),
        (["--pids-limit", "1", "true"], "pids must be 2 to"),
        (["--cap-add", "x", "true"], "--cap-add must be a capability such as NET_RAW, or ALL"),
        (["--cap-drop", "", "true"], "--cap-drop must be a capability such as NET_RAW, or ALL"),
        (["--umask", "9", "true"], "--umask must be an octal number up to 777, such as 022"),
        (["--nice", "20", "true"], "--nice must be a whole number from -20 to 19, not '20'"),
        (["--oom-score-adj", "x", "true"], "--oom-score-adj must be a whole number from -1000"),
        (["--cpu-affinity", "1-0", "true"], "--cpu-affinity must be CPUs such as 0-1,3"),
        (["--allow-new-privs=1", "true"], "--allow-new-privs takes no value, not '1'"),
        (["--ulimit", "", "true"], "--ulimit must be NAME=SOFT[:HARD], not ''"),
        (["--ulimit", "nofile", "true"], "--ulimit must be NAME=SOFT[:HARD], not 'nofile'"),
        (["--ulimit", "nofile=x", "true"], "--ulimit must be NAME=SOFT[:HARD], not 'nofile=x'"),
        (["--ulimit", "nofile=1:2:3", "true"], "--ulimit must be NAME=SOFT[:HARD]"),
        (["--ulimit", "nofile=1_0", "true"], "--ulimit must be NAME=SOFT[:HARD]"),
        (["--ulimit", "nofile= 1", "true"], "--ulimit must be NAME=SOFT[:HARD]"),
        (["--ulimit", "files=1", "true"], "ulimit must be one of"),
        (["--ulimit", "nofile=2:1", "true"], "ulimit nofile: soft limit 2 is above"),
        (["--ulimit", f"core={2**64}", "true"], "ulimit core must be 0 to"),
        (["--ulimit", f"core={'9' * 5000}", "true"], "--ulimit must be NAME=SOFT[:HARD]"),
        (["--timeout", "", "true"], "--timeout must be a duration such as"),
        (["--timeout", "soon", "true"], "--timeout must be a duration such as"),
        (["--timeout", "-1", "true"], "--timeout must be a duration such as"),
        (["--grace", "", "true"], "--grace must be a duration such as"),
        (["--grace", "11y", "true"], "--grace must be a duration such as"),
        (["--grace", "4000d", "true"], "--grace must be at most ten years"),
        (["--stop-signal", "", "true"], "--stop-signal must be a signal such as TERM, not ''"),
        (["--stop-signal", "FOO", "true"], "--stop-signal must be a signal such as TERM"),
        (["--stop-signal", "SIGSIGINT", "true"], "--stop-signal must be a signal such as TERM"),
        (["--stop-signal", "0", "true"], "--stop-signal must be a signal such as TERM"),
        (["--stop-signal", "99", "true"], "--stop-signal must be a signal such as TERM"),
        (["--stop-signal", "KILL", "true"], "stop signal must be one that can be handled, not 9"),
        (["--stop-signal", "STOP", "true"], "stop signal must be one that can be handled"),
        (["--log", "web.log", "true"], "--log must be console, journald, null, inherit or file:PA"),
        (["--log", "file:a", "--log", "file:./a", "true"], "--log must not have /"),
        (["--log", "null", "--log", "console", "true"], "--log must have null alone"),
        (["--log", "console", "-it", "true"], "--tty cannot be had with --log"),
    ],
)
def test_words_that_cannot_be_meant_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(SpecError) as info:
        parse(*words)

    assert str(info.value).startswith(message)
    assert info.value.exit_code == 2


def test_command_keeps_its_own_options() -> None:
    request = parse("-i", "ls", "-l", "--rootfs", "host", "--", "-v")

    assert request.spec.argv == ("ls", "-l", "--rootfs", "host", "--", "-v")
    assert request.spec.rootfs == "busybox"


def test_two_dashes_end_the_options() -> None:
    assert parse("-i", "--", "-v", "x").spec.argv == ("-v", "x")


def test_path_of_the_caller_is_taken_from_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    made = spec_of("--rootfs", "./root", "-v", "data:/data")

    assert (made.rootfs, made.volumes[0].source) == (f"{tmp_path}/root", f"{tmp_path}/data")


@pytest.mark.parametrize(
    ("words", "timeout"),
    [([], None), (["--timeout", "30s"], 30.0), (["--timeout", "1", "--timeout=2m"], 120.0)],
)
def test_timeout_is_in_seconds(words: list[str], timeout: float | None) -> None:
    assert parse(*words, "true").timeout == timeout


@pytest.mark.parametrize(
    ("words", "sinks"),
    [
        ([], []),
        (["--log", "inherit"], []),
        (["--log", "inherit", "-t"], []),
        (["--log", "null"], [("null", "")]),
        (["--log", "console", "--log=file:/web.log"], [("console", ""), ("file", "/web.log")]),
        (["--log", "file:/srv/../a b:c.log"], [("file", "/a b:c.log")]),
    ],
)
def test_log_is_a_sink_or_several(words: list[str], sinks: list[tuple[str, str]]) -> None:
    assert [(sink.kind, sink.path) for sink in parse(*words, "true").sinks] == sinks


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["--name", "web", "httpd"], "web"),
        (["--hostname", "web", "/usr/bin/httpd"], "httpd"),
        (["httpd"], "httpd"),
        (["new\nline"], r"new\nline"),
    ],
)
def test_lines_have_the_name_of_the_container_or_of_the_command(
    words: list[str], name: str
) -> None:
    assert parse(*words).name == name


@pytest.mark.parametrize(("sink", "terminal"), [("inherit", True), ("null", False)])
def test_command_whose_output_is_logged_has_no_terminal(sink: str, terminal: bool) -> None:
    assert spec_of("--log", sink, terminal=True).terminal is terminal


@pytest.mark.parametrize(("words", "dry_run"), [([], False), (["--dry-run"], True)])
def test_dry_run_is_told(words: list[str], dry_run: bool) -> None:
    assert parse(*words, "true").dry_run is dry_run


@pytest.mark.parametrize("default", ["host", "busybox"])
def test_root_that_nobody_asked_for_is_the_default(default: str) -> None:
    assert parse("true", default=default).spec.rootfs == default


def test_default_root_is_not_looked_for_where_one_was_asked_for() -> None:
    asked: list[str] = []

    def find_default() -> str:
        asked.append("asked")
        return "host"

    parse_run_arguments(["--rootfs", "busybox", "true"], find_default, terminal=False)

    assert asked == []


@pytest.mark.parametrize("word", ["-h", "--help"])
def test_help_needs_no_command(word: str) -> None:
    assert parse_run_arguments([word], lambda: "host", terminal=False) is None


def test_help_lists_every_option_and_every_exit_status() -> None:
    text = render_help()

    for word in ("--rootfs ROOT", "-v, --volume SRC:DST[:ro]", "--timeout TIME", "124", "127"):
        assert word in text


def test_terminal_has_the_type_of_the_callers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "vt52")

    assert spec_of(terminal=True).env == {"TERM": "vt52"}
    assert spec_of("-e", "TERM=dumb", terminal=True).env == {"TERM": "dumb"}
    assert spec_of(terminal=False).env == {}


@pytest.mark.parametrize("value", [None, ""])
def test_terminal_of_no_type_is_an_xterm(
    monkeypatch: pytest.MonkeyPatch, value: str | None
) -> None:
    monkeypatch.delenv("TERM", raising=False)
    if value is not None:
        monkeypatch.setenv("TERM", value)

    assert spec_of(terminal=True).env == {"TERM": "xterm"}


def test_variables_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FROM_CALLER", "its value")
    file = tmp_path / "env"
    file.write_text(
        "# a comment\n"
        "\n"
        "   \n"
        "PLAIN=value\n"
        "  INDENTED=value\n"
        "EMPTY=\n"
        "EQUALS=a=b\n"
        "QUOTED='a b'\n"
        "TRAILING=two  \n"
        "UNICODE=ä\n"
        "HASH=a # b\n"
        "FROM_CALLER\n"
        "NOT_IN_CALLER\n"
        "WINDOWS=line\r\n"
        "LAST=no newline"
    )

    assert spec_of("--env-file", str(file)).env == {
        "PLAIN": "value",
        "INDENTED": "value",
        "EMPTY": "",
        "EQUALS": "a=b",
        "QUOTED": "'a b'",
        "TRAILING": "two  ",
        "UNICODE": "ä",
        "HASH": "a # b",
        "FROM_CALLER": "its value",
        "WINDOWS": "line",
        "LAST": "no newline",
    }


def test_variable_of_the_command_line_replaces_that_of_a_file(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    first.write_text("A=1\nB=1\nC=1\n")
    second.write_text("B=2\nC=2\n")

    made = spec_of("-e", "C=3", "--env-file", str(first), "--env-file", str(second))

    assert made.env == {"A": "1", "B": "2", "C": "3"}


def test_file_of_variables_may_have_any_bytes(tmp_path: Path) -> None:
    file = tmp_path / "env"
    file.write_bytes(b"A=\xff\xfe\n")

    assert spec_of("--env-file", str(file)).env == {"A": "\udcff\udcfe"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"A=1\n=2\n", "env:2 must be KEY or KEY=VALUE, not '=2'"),
        (b"A=\0\n", "variable A must not contain a NUL byte"),
    ],
)
def test_wrong_line_of_a_file_is_named(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "env"
    file.write_bytes(content)

    with pytest.raises(SpecError) as info:
        spec_of("--env-file", str(file))

    assert message in str(info.value)


OPTIONS = [
    *("--rootfs", "--rootfs-mode", "--read-only", "-v", "--tmpfs", "-e", "-w", "-u", "--name"),
    *("--cap-add", "--cap-drop", "--allow-new-privs", "--umask", "--nice", "--cpu-affinity"),
    *("--hostname", "--network", "--userns", "--ulimit", "--timeout", "--stop-signal", "--grace"),
    *("--memory", "-m", "--cpus", "--pids-limit"),
    *("-i", "-t", "-it", "--dry-run", "--help", "--", "true"),
]
VALUES = st.sampled_from(["host", "/a:/b", "/a:size=1k", "nofile=1", "10s", "TERM", "0"]) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=6
)


@pytest.mark.slow
@given(words=st.lists(st.sampled_from(OPTIONS) | VALUES, max_size=8))
def test_any_words_are_a_request_or_a_refusal(words: list[str]) -> None:
    try:
        request = parse_run_arguments(words, lambda: "host", terminal=False)
    except SpecError:
        return

    assert request is None or request.spec.argv == tuple(words[-len(request.spec.argv) :])
