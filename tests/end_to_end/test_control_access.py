"""Those whom the file lets look at a supervisor, and those who come by TCP with a token."""

import json
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.end_to_end.controlled import Controlled, open_controlled
from tests.end_to_end.processes import MOCKER, PATIENCE, read_uid, wait_until
from tests.end_to_end.supervised import supervise
from tests.requirements import (
    requires_busybox,
    requires_commands,
    requires_root,
    requires_user_namespaces,
)

pytestmark = [
    pytest.mark.end_to_end,
    requires_user_namespaces,
    requires_busybox,
    requires_commands("curl", "setpriv"),
]

JOBS = "[jobs.web]\ncommand = ['sleep', '1000']\nenv = { SECRET = 'x' }\n"
USER, GROUP = 12345, 23456  # that nobody has
READERS = f"[control]\nread = ['user:{USER}', 'group:{GROUP}']\n"
TOKEN = "let-me-in"  # noqa: S105 - it opens nothing
WITH_TOKEN = ["-H", f"Authorization: Bearer {TOKEN}"]
RESTART = ["-d", '{"action": "restart", "jobs": ["web"]}', "http://x/v1/actions"]

Answer = tuple[int, str]


@pytest.fixture
def public_directory() -> Iterator[Path]:
    """A directory that everybody gets into."""
    path = Path(tempfile.mkdtemp(prefix="mocker-test-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


def curl(*words: str, wrapper: Sequence[str] = ()) -> Answer:
    """Return the status and the body of an answer; 0 if there is none."""
    command = [*wrapper, "curl", "-s", "-w", r"\n%{http_code}", *words]
    result = subprocess.run(
        command, stdout=subprocess.PIPE, text=True, timeout=PATIENCE, check=False
    )
    body, _, status = result.stdout.rpartition("\n")
    return int(status), body


def read_code(answer: Answer) -> tuple[int, str]:
    """Return the status, and the code of the problem."""
    return answer[0], json.loads(answer[1])["error"]["code"]


def ask_as(uid: int, groups: str, control: Controlled, *words: str) -> Answer:
    """Ask at the socket as a user in these groups."""
    become = ["setpriv", f"--reuid={uid}", f"--regid={uid}", f"--groups={groups}"]
    return curl("--unix-socket", str(control.socket), *words, wrapper=become)


@pytest.fixture
def read_by_others(public_directory: Path) -> Iterator[Controlled]:
    with open_controlled(public_directory, READERS + JOBS) as control:
        yield control


@requires_root
@pytest.mark.parametrize(("uid", "groups"), [(USER, "1"), (23, f"5,{GROUP},6"), (GROUP, "1")])
def test_reader_looks_and_does_nothing(read_by_others: Controlled, uid: int, groups: str) -> None:
    def ask(*words: str) -> Answer:
        return ask_as(uid, groups, read_by_others, *words)

    seen = ask("http://x/v1/jobs")
    metrics = ask("http://x/metrics")
    config = ask("http://x/v1/jobs/web/config")
    encoded = ask("http://x/v1/jobs/web/%63onfig")
    restart = ask(*RESTART)

    assert (seen[0], json.loads(seen[1])["jobs"][0]["state"]) == (200, "RUNNING")
    assert metrics[0] == 200
    refused = [read_code(answer) for answer in (config, encoded, restart)]
    assert refused == [(403, "not-allowed")] * 3
    assert "SECRET" not in seen[1] + config[1] + encoded[1]
    event = read_by_others.run.wait_event("control.refused")
    assert (event["uid"], len(read_by_others.run.find("control.refused"))) == (uid, 1)
    assert len(read_by_others.run.find("job.started")) == 1


@requires_root
def test_reader_waits_and_asks_what_a_reload_would_change(read_by_others: Controlled) -> None:
    def ask(*words: str) -> Answer:
        return ask_as(USER, "1", read_by_others, *words)

    read_by_others.run.file.write_text(READERS + JOBS + JOBS.replace("web", "new"))
    waited = ask("-d", '{"jobs": ["web"], "for": "ready"}', "http://x/v1/wait")
    plan = ask("http://x/v1/reload")
    reload = ask("-d", "{}", "http://x/v1/reload")
    read_by_others.run.file.write_text("[jobs.web]\ncommand = 'x'\nenv = 'SECRET'\n")
    rejected = ask("http://x/v1/reload")

    assert (waited[0], json.loads(waited[1])["outcome"]) == (200, "ready")
    assert (plan[0], json.loads(plan[1])["added"]) == (200, ["new"])
    assert read_code(reload) == (403, "not-allowed")
    assert read_code(rejected) == (422, "config-rejected")
    assert "SECRET" not in rejected[1]
    assert "new" not in read_by_others.read_states()


FOLLOWING = """
import socket, sys
path, most = sys.argv[1], int(sys.argv[2])
open_, statuses = [], []
for _ in range(most):
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(path)
    connection.sendall(b"GET /v1/events HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n")
    statuses.append(connection.recv(12)[-3:].decode())
    open_.append(connection)
print(*statuses, flush=True)
sys.stdin.read()
"""


@contextmanager
def following(control: Controlled, count: int) -> Iterator[list[str]]:
    """Have a reader follow so often, and return what each was answered."""
    command = [sys.executable, "-S", "-c", FOLLOWING, str(control.socket), str(count)]
    with subprocess.Popen(
        [*become(USER), *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().split()
        finally:
            process.kill()


@pytest.mark.slow
@requires_root
def test_readers_take_no_place_of_the_owner_s(read_by_others: Controlled) -> None:
    wait = ["wait", "web", "--for", "ready"]  # counts among those who follow

    with following(read_by_others, 241) as answered:
        reader = ask_as(USER, "1", read_by_others, "http://x/v1/events")
        owner = read_by_others.mocker(*wait)

    assert (answered, reader[0]) == (["200"] * 240 + ["503"], 503)
    assert (owner.stdout, owner.stderr, owner.returncode) == ("web: ready\n", "", 0)


@requires_root
def test_reader_sees_jobs_with_mocker_ps(read_by_others: Controlled) -> None:
    seen = mocker_as_user("ps", "-s", read_by_others.socket)
    stop = mocker_as_user("stop", "-s", read_by_others.socket, "web")

    assert (seen.stderr, seen.returncode) == ("", 0)
    assert [line.split()[:2] for line in seen.stdout.splitlines()] == [
        ["NAME", "STATE"],
        ["web", "RUNNING"],
    ]
    refusal = "only the supervisor's owner and root may do that: POST /v1/actions"
    assert (stop.stderr, stop.returncode) == (f"mocker stop: {refusal}\n", 1)


@requires_root
def test_stranger_is_refused_everything(read_by_others: Controlled) -> None:
    answers = [
        ask_as(23, "1,2,3", read_by_others, *words)
        for words in (["http://x/v1/jobs"], ["http://x/health"], RESTART)
    ]

    assert [read_code(answer) for answer in answers] == [(403, "not-allowed")] * 3
    assert len(read_by_others.run.find("control.refused")) == 1


@requires_root
def test_others_get_to_no_more_than_the_socket(read_by_others: Controlled) -> None:
    directory = read_by_others.socket.parent
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode) for path in [directory, *directory.iterdir()]
    }

    assert modes == {"mocker": 0o711, "jobs.sock": 0o666, "jobs.exec": 0o600, "jobs.lock": 0o600}


def become(uid: int) -> list[str]:
    """Return a wrapper for mocker as another user, who can read where root has installed it."""
    user = [f"--reuid={uid}", f"--regid={uid}", "--clear-groups"]
    return ["setpriv", *user, "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


def mocker_as_user(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    """Run a command of `mocker` as a user who is neither the owner nor root."""
    return subprocess.run(
        [*become(USER), MOCKER, *words],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@requires_root
def test_root_may_do_all_with_the_supervisor_of_a_user(public_directory: Path) -> None:
    os.chown(public_directory, USER, USER)

    with open_controlled(public_directory, JOBS, become(USER)) as control:
        supervisor = ["-s", str(control.socket)]
        shown = control.mocker("ps", "-q", *supervisor)
        restarted = control.mocker("restart", *supervisor, "web")
        executed = control.mocker("exec", *supervisor, "web", "sh", "-c", "echo $SECRET")

        assert read_uid(control.run.process.pid) == control.socket.stat().st_uid == USER
    results = [(result.stdout, result.stderr) for result in (shown, restarted, executed)]
    assert results == [("web\n", ""), ("web: restarted\n", ""), ("x\n", "")]


@requires_root
@pytest.mark.parametrize(
    ("words", "suffix", "hint", "status"),
    [
        (["ps"], ".sock", "its owner can let you look with 'read' in [control]", 1),
        (["exec", "web", "true"], ".exec", "only its owner and root may do that", 125),
    ],
    ids=["ps", "exec"],
)
def test_supervisor_of_another_user_is_told_as_such(
    public_directory: Path, words: list[str], suffix: str, hint: str, status: int
) -> None:
    with open_controlled(public_directory, JOBS) as control:
        said = mocker_as_user(words[0], "-s", control.socket, *words[1:])

    reason = "Permission denied (EACCES); it is another user's"
    what = f"cannot connect to {control.socket.with_suffix(suffix)}"
    assert said.stderr == f"mocker {words[0]}: {what}: {reason}; {hint}\n"
    assert (said.stdout, said.returncode) == ("", status)


@requires_root
def test_only_group_has_the_socket_to_itself(public_directory: Path) -> None:
    text = f"[control]\nread = 'group:{GROUP}'\n{JOBS}"
    with open_controlled(public_directory, text) as control:
        status = control.socket.stat()
        reader = ask_as(23, str(GROUP), control, "http://x/v1/jobs")
        stranger = ask_as(23, "1", control, "http://x/v1/jobs")

    assert (stat.S_IMODE(status.st_mode), status.st_gid) == (0o660, GROUP)
    assert (reader[0], stranger[0]) == (200, 0)


@requires_root
def test_other_supervisors_shut_no_reader_out(read_by_others: Controlled) -> None:
    directory = read_by_others.socket.parents[1]
    text = "[supervisor]\nname = 'other'\n[jobs.short]\ncommand = 'true'\ntype = 'oneshot'\n"
    status, _ = supervise(directory, text)

    assert status == 0
    assert ask_as(USER, "1", read_by_others, "http://x/v1/jobs")[0] == 200


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
    return number


@pytest.fixture
def remote(tmp_path: Path, port: int) -> Iterator[Controlled]:
    """A supervisor that listens at the port."""
    write_token(tmp_path)
    with open_controlled(tmp_path, render(port)) as control:
        control.run.wait_event("control.listening", address=f"127.0.0.1:{port}")
        yield control


def write_token(directory: Path) -> None:
    path = directory / "control.token"
    path.touch(mode=0o600)
    path.write_text(f"{TOKEN}\n")


def render(port: int, address: str = "127.0.0.1") -> str:
    return f"[control]\nlisten = '{address}:{port}'\ntoken_file = 'control.token'\n{JOBS}"


@pytest.mark.usefixtures("remote")
def test_token_opens_everything(port: int) -> None:
    url = f"http://127.0.0.1:{port}"

    jobs = curl(*WITH_TOKEN, f"{url}/v1/jobs")
    config = curl(*WITH_TOKEN, f"{url}/v1/jobs/web/config")
    restart = curl(*WITH_TOKEN, *RESTART[:2], f"{url}/v1/actions")

    assert (jobs[0], config[0], "SECRET" in config[1]) == (200, 200, True)
    expected = {"job": "web", "outcome": "restarted", "ok": True, "reason": "", "last_lines": []}
    assert json.loads(restart[1]) == expected


@pytest.mark.parametrize("path", ["/health", "/metrics", "/v1/jobs", "/v1/openapi.json", "/no"])
def test_nothing_is_answered_without_the_token(remote: Controlled, port: int, path: str) -> None:
    url = f"http://localhost:{port}{path}"

    without = curl("-4", "-i", url)
    wrong = curl("-4", "-H", "Authorization: Bearer other", url)
    act = curl("-4", "-d", "{}", url)

    assert "WWW-Authenticate: Bearer" in without[1] or "www-authenticate: Bearer" in without[1]
    codes = [read_code((without[0], without[1].splitlines()[-1])), read_code(wrong), read_code(act)]
    assert codes == [(401, "token-needed"), (401, "wrong-token"), (401, "token-needed")]
    assert len(remote.run.find("control.refused", address="127.0.0.1")) == 1


@pytest.mark.usefixtures("remote")
def test_page_with_a_name_of_its_own_is_refused(port: int) -> None:
    rebound = ["--resolve", f"evil.example:{port}:127.0.0.1"]

    answer = curl(*rebound, *WITH_TOKEN, f"http://evil.example:{port}/v1/jobs")

    assert read_code(answer) == (421, "wrong-host")


def test_those_who_only_connect_by_tcp_harm_nobody(remote: Controlled, port: int) -> None:
    connected = [socket.create_connection(("127.0.0.1", port)) for _ in range(400)]

    answer = curl(*WITH_TOKEN, f"http://127.0.0.1:{port}/v1/jobs")
    states = remote.read_states()

    for connection in connected:
        connection.close()
    assert (answer[0], states) == (200, {"web": "RUNNING"})


def test_too_big_a_body_is_refused_by_tcp_too(remote: Controlled, port: int) -> None:
    head = [
        "POST /v1/actions HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        f"Authorization: Bearer {TOKEN}",
        f"Content-Length: {2**30}",
    ]
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode() + b"x" * 2**17)
        status = int(connection.recv(2**16).split()[1])

    assert (status, remote.read_states()) == (413, {"web": "RUNNING"})


def test_follower_who_leaves_is_noticed(remote: Controlled, port: int) -> None:
    before = remote.list_descriptors()  # before anybody has asked, who might not be gone yet
    head = f"GET /v1/events HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as connection:
        connection.sendall(f"{head}Authorization: Bearer {TOKEN}\r\n\r\n".encode())
        connection.recv(2**16)

    assert wait_until(lambda: remote.list_descriptors() == before)


def test_port_in_use_is_said_and_the_jobs_run(tmp_path: Path, port: int) -> None:
    write_token(tmp_path)

    with (
        socket.create_server(("127.0.0.1", port)),
        open_controlled(tmp_path, render(port)) as control,
    ):
        reason = control.run.wait_event("control.unavailable")["reason"]
        states = control.read_states()

    expected = f"cannot listen at 127.0.0.1:{port}: Address already in use (EADDRINUSE)"
    assert (reason, states) == (expected, {"web": "RUNNING"})


def test_other_control_needs_a_restart(remote: Controlled, port: int) -> None:
    remote.run.rewrite(JOBS)

    event = remote.run.wait_event("config.loaded", needs_restart=["control"])
    answer = curl(*WITH_TOKEN, f"http://127.0.0.1:{port}/v1/jobs")

    assert (event["unchanged"], answer[0]) == (1, 200)


def test_nothing_is_started_with_a_port_and_no_token(tmp_path: Path, port: int) -> None:
    status, run = supervise(tmp_path, f"[control]\nlisten = '127.0.0.1:{port}'\n{JOBS}")

    assert (status, run.events) == (2, [])
    where = f"{tmp_path}/jobs.toml:2: control.listen"
    assert run.remarks == [
        f"mocker-supervise: {where}: needs token_file, or token = '${{VARIABLE}}'"
    ]


def forget(path: Path) -> None:
    path.unlink()


def show(path: Path) -> None:
    path.chmod(0o644)


def empty(path: Path) -> None:
    path.write_text("\n")


@pytest.mark.parametrize("spoil", [forget, show, empty])
def test_nothing_is_started_without_a_good_token(
    tmp_path: Path, port: int, spoil: Callable[[Path], None]
) -> None:
    write_token(tmp_path)
    spoil(tmp_path / "control.token")

    status, run = supervise(tmp_path, render(port))

    assert (status, run.events) == (2, [])
    (remark,) = run.remarks
    assert remark.startswith(f"mocker-supervise: {tmp_path}/jobs.toml:3: control.token_file: ")
