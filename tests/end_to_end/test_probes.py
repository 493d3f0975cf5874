"""Readiness and liveness as a user of `mocker-supervise` meets them, with real servers."""

import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.containers import list_titles
from tests.end_to_end.job_texts import job
from tests.end_to_end.processes import wait_until
from tests.end_to_end.supervised import Supervised, open_supervisor, supervise
from tests.requirements import requires_busybox, requires_commands, requires_user_namespaces

pytestmark = [pytest.mark.end_to_end, requires_user_namespaces, requires_busybox]

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SLEEP = "exec sleep 1000"
# A server of /srv, which is the directory `site` of the test.
SERVE = "exec httpd -f -p 8080 -h /srv"
URL = "http://127.0.0.1:8080/page"
AT_ONCE = "backoff = { initial = 0 }"
# Python that sends what its arguments say by sd_notify, and stays.
NOTIFY = """
import os, socket, sys, time
with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
    notify.sendto(sys.argv[1].encode(), os.environ["NOTIFY_SOCKET"].replace("@", chr(0), 1))
time.sleep(1000)
"""
# Python that says for all others in its network that they are ready, and then that it did.
SPOOF = """
import socket, time
names = [line.split()[-1] for line in open("/proc/net/unix") if "@mocker/" in line]
for name in names:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notify:
        notify.sendto(b"READY=1", name.replace("@", chr(0), 1))
print(len(names), "sent", flush=True)
time.sleep(1000)
"""


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Path]:
    """The directory that jobs see as /srv, and a page in it."""
    site = tmp_path / "site"
    site.mkdir()
    site.chmod(0o777)
    (site / "page").write_text("hello\n")
    yield site
    # What a container's root wrote there may belong to nobody that pytest could delete it as.
    shutil.rmtree(site, ignore_errors=True)


def web(keys: str, script: str = SERVE) -> str:
    return job("web", script, f"volumes = ['./site:/srv']\n{keys}")


def python(name: str, code: str, keys: str, *arguments: str) -> str:
    """Return the entry of a job that is a program in the host's Python."""
    words = "".join(f", '''{argument}'''" for argument in arguments)
    return (
        f"[jobs.{name}]\ncommand = ['python3', '-c', '''{code}'''{words}]\n"
        f"rootfs = 'host'\nenv = {{ PATH = '${{PATH}}' }}\n{keys}\n"
    )


def after(condition: str = "ready", other: str = "web") -> str:
    """Return the entry of a job that starts after another one, and says so."""
    return job("last", "echo here", f"type = 'oneshot'\ndepends_on = {{ {other} = '{condition}' }}")


def one_line(text: str) -> str:
    """Return TOML whose inline tables are written over several lines, as it wants them."""
    return re.sub(r"([,;])\n +", r"\1 ", text)


def wait_for_questions(site: Path, count: int) -> None:
    """Wait until a command has added so many lines to the file `asked`."""
    asked = site / "asked"
    assert wait_until(lambda: asked.exists() and asked.stat().st_size >= count)


def order_of(run: Supervised, *names: str) -> list[tuple[str, str]]:
    return [(event["event"], event["job"]) for event in run.events if event["event"] in names]


# Being asked


@pytest.mark.parametrize("probe", ["tcp = 8080", f"http = '{URL}'", f"exec = 'wget -q -O - {URL}'"])
def test_dependent_starts_once_the_answer_is_good(tmp_path: Path, site: Path, probe: str) -> None:
    keys = f"ready = {{ {probe}, interval = '20ms' }}"
    waiting = f"until test -e /srv/go; do sleep 0.02; done; {SERVE}"

    with open_supervisor(tmp_path, web(keys, waiting) + after()) as run:
        run.wait_event("job.started", job="web")
        early = run.find("job.started", job="last")
        (site / "go").touch()
        run.wait_line("last | here")
        run.terminate()

    assert early == []
    assert order_of(run, "job.started", "job.ready") == [
        ("job.started", "web"),
        ("job.ready", "web"),
        ("job.started", "last"),
    ]


def test_replicas_serve_the_same_port(tmp_path: Path, site: Path) -> None:
    keys = f"replicas = 2\nready = {{ http = '{URL}', interval = '20ms' }}"

    with open_supervisor(tmp_path, web(keys) + after()) as run:
        run.wait_line("last | here")
        run.terminate()

    assert sorted(event["job"] for event in run.find("job.ready")) == ["web-1", "web-2"]


def test_job_that_is_not_ready_in_time_says_what_was_asked_last(tmp_path: Path, site: Path) -> None:
    (site / "page").unlink()
    keys = (
        f"ready = {{ http = '{URL}', interval = '20ms' }}\nstart_timeout = '1s'\nrestart = 'never'"
    )

    status, run = supervise(tmp_path, web(keys) + after())

    reason = f"not ready after 1 s; GET {URL}: 404"
    assert status == 1
    assert run.find("job.stopping", job="web", reason=reason)
    assert run.find("job.skipped", job="last")


def test_readiness_alone_never_restarts(tmp_path: Path, site: Path) -> None:
    keys = f"ready = {{ http = '{URL}', interval = '10ms' }}"
    other = job(
        "other", "exit 0", f"restart = 'always'\n{AT_ONCE}\ndepends_on = {{ web = 'ready' }}"
    )

    with open_supervisor(tmp_path, web(keys) + other) as run:
        run.wait_event("job.ready")
        (site / "page").unlink()
        run.wait_event("job.started", job="other", count=20)
        run.terminate()

    assert len(run.find("job.started", job="web")) == 1


# Liveness


def test_job_that_stops_answering_is_restarted_with_the_reason(tmp_path: Path, site: Path) -> None:
    keys = f"""
        ready = {{ tcp = 8080, interval = '20ms' }}
        alive = {{ http = '{URL}', interval = '20ms' }}
        {AT_ONCE}
    """

    with open_supervisor(tmp_path, web(keys)) as run:
        run.wait_event("job.ready")
        (site / "page").unlink()
        stopping = run.wait_event("job.stopping")
        (site / "page").write_text("back\n")
        exited = run.wait_event("job.exited")
        run.wait_event("job.ready", count=2)
        run.terminate()

    reason = f"3 of 3 answers were bad: GET {URL}: 404"
    assert (stopping["reason"], exited["reason"], exited["next"]) == (reason, reason, "restart")
    assert run.find("job.unhealthy")[0]["reason"] == f"GET {URL}: 404"


def test_one_good_answer_makes_a_job_healthy_again(tmp_path: Path, site: Path) -> None:
    keys = f"alive = {{ http = '{URL}', interval = '20ms', failures = 1000 }}"

    with open_supervisor(tmp_path, web(keys)) as run:
        for count in (1, 2):
            run.wait_event("job.started")
            (site / "page").unlink()
            run.wait_event("job.unhealthy", count=count)
            (site / "page").write_text("back\n")
            run.wait_event("job.healthy", count=count)
        run.terminate()

    assert len(run.find("job.started")) == 1


def test_job_that_is_never_alive_is_given_up_after_exactly_so_many_runs(tmp_path: Path) -> None:
    keys = f"""
        alive = {{ exec = ['sh', '-c', 'echo out of order; exit 1'], interval = '10ms' }}
        give_up = {{ failures = 2, within = '60s' }}
        {AT_ONCE}
    """

    status, run = supervise(tmp_path, job("web", SLEEP, keys))

    assert (status, len(run.find("job.started"))) == (1, 2)
    assert run.find("job.given_up")
    assert run.find("job.exited")[0]["reason"] == (
        "3 of 3 answers were bad: sh -c 'echo out of order; exit 1': exit code 1: out of order"
    )


def test_nobody_asks_a_job_that_backs_off(tmp_path: Path) -> None:
    keys = """
        alive = { exec = 'false', interval = '10ms', failures = 1 }
        backoff = { initial = '1h' }
    """

    with open_supervisor(tmp_path, job("web", SLEEP, keys)) as run:
        run.wait_event("job.exited")
        for count in range(1, 11):
            run.send(signal.SIGQUIT)
            run.wait_event("job.state", count=count, state="BACKOFF")
        status = run.terminate()

    assert status == 0
    assert (len(run.find("job.unhealthy")), len(run.find("job.started"))) == (1, 1)


def test_job_that_has_ended_is_not_dead_while_what_it_left_has_its_grace(tmp_path: Path) -> None:
    keys = """
        alive = { exec = 'true', interval = '10ms', timeout = '50ms', failures = 2 }
        grace = '500ms'
    """
    left = "trap '' TERM; echo >/tmp/set; while :; do sleep 0.05; done"
    leaving = f"mkfifo /tmp/set; ({left}) & read -r _ </tmp/set; exit 0"

    status, run = supervise(tmp_path, job("web", leaving, keys))

    assert (status, run.find("job.stopping")) == (0, [])
    assert run.find("job.exited", exit_code=0)


def test_job_that_ends_as_it_is_asked_ends_as_it_did(tmp_path: Path) -> None:
    # The question is on its way to the init of its container while that says how the job ended.
    ready = "ready = { exec = ['true'], interval = '10ms' }"
    text = job("web", "exit 3", f"replicas = 3\nrestart = 'always'\n{ready}\n{AT_ONCE}")

    with open_supervisor(tmp_path, text) as run:
        run.wait_event("job.exited", count=200)
        ends = {event.get("exit_code", event.get("signal")) for event in run.find("job.exited")}
        assert run.terminate() == 0

    assert ends == {3}


def test_question_that_takes_too_long_is_killed_with_all_that_it_started(
    tmp_path: Path, site: Path
) -> None:
    keys = """
        volumes = ['./site:/srv']
        alive = { exec = ['sh', '-c', 'echo >>/srv/asked; sleep 2000 & sleep 3000'],
                  interval = '10ms', timeout = '50ms', failures = 999 }
    """

    with open_supervisor(tmp_path, job("web", SLEEP, one_line(keys))) as run:
        pid = run.wait_event("job.started")["pid"]
        wait_for_questions(site, 10)
        titles = list_titles(pid)
        run.terminate()

    assert titles.count("sleep 1000") == 1
    # One may be under way, and one dying.
    assert (titles.count("sleep 2000") <= 2, titles.count("sleep 3000") <= 2) == (True, True)


def test_stop_does_not_wait_for_an_answer(tmp_path: Path, site: Path) -> None:
    keys = """
        volumes = ['./site:/srv']
        alive = { exec = ['sh', '-c', 'echo $$$$ >/srv/asking; mv /srv/asking /srv/asked;
                          exec sleep 2000'], interval = '10ms', timeout = '1h' }
        ready = { log = 'up' }
        grace = '1h'
    """
    # It ends after whoever asks it, who therefore cannot be waiting for it.
    end = "while test -d /proc/$(cat /srv/asked); do sleep 0.01; done; exit 0"
    script = f"end() {{ {end}; }}; trap end TERM; echo up; while :; do sleep 0.05; done"

    with open_supervisor(tmp_path, job("web", script, one_line(keys))) as run:
        assert wait_until((site / "asked").exists)
        status = run.terminate()

    assert (status, run.find("job.unhealthy"), run.find("job.killed")) == (0, [], [])
    assert run.find("job.stopped", exit_code=0)


def test_questions_leave_no_descriptor_and_no_process(tmp_path: Path, site: Path) -> None:
    keys = """
        ready = { tcp = 8080, interval = '10ms' }
        alive = { exec = ['sh', '-c', 'echo >>/srv/asked; sleep 2000 & exit 1'],
                  interval = '10ms', failures = 999 }
    """

    with open_supervisor(tmp_path, web(one_line(keys))) as run:
        pid = run.wait_event("job.started")["pid"]
        counts = []
        for questions in (5, 50):
            wait_for_questions(site, questions)
            counts.append(len(list(Path(f"/proc/{run.process.pid}/fd").iterdir())))
        titles = list_titles(pid)
        run.terminate()

    assert titles.count("sleep 2000") <= 2
    assert counts[1] <= counts[0] + 3  # of a question that is under way


# Saying it


@pytest.mark.parametrize("number", [3, 9])
def test_newline_on_a_descriptor_makes_a_job_ready(tmp_path: Path, number: int) -> None:
    text = job("web", f"echo up >&{number}; {SLEEP}", f"ready = {{ fd = {number} }}")

    with open_supervisor(tmp_path, text + after()) as run:
        run.wait_line("last | here")
        run.terminate()

    assert order_of(run, "job.ready", "job.started")[1:] == [
        ("job.ready", "web"),
        ("job.started", "last"),
    ]


def test_descriptor_that_is_closed_without_a_newline_is_a_failed_start(tmp_path: Path) -> None:
    keys = "ready = { fd = 3 }\nrestart = 'never'"

    status, run = supervise(tmp_path, job("web", f"exec 3>&-; {SLEEP}", keys) + after())

    reason = "closed descriptor 3 without saying that it is ready"
    assert (status, run.find("job.started", job="last")) == (1, [])
    assert run.find("job.exited", job="web", reason=reason)


def test_job_that_says_nothing_gets_its_stop_signal_and_is_killed(tmp_path: Path) -> None:
    keys = """
        ready = { fd = 3 }
        start_timeout = '500ms'
        stop_signal = 'INT'
        grace = '500ms'
        restart = 'never'
    """
    script = "trap 'echo interrupted' INT; trap '' TERM; while :; do sleep 0.05; done"

    status, run = supervise(tmp_path, job("web", script, keys) + after())

    assert (status, "web | interrupted" in run.lines) == (1, True)
    assert run.find("job.exited", signal="SIGKILL", reason="not ready after 0.5 s")


def test_job_that_ends_before_it_says_anything_leaves_its_dependents_skipped(
    tmp_path: Path,
) -> None:
    text = job("web", "exit 0", "ready = { log = 'up' }\nrestart = 'never'")

    status, run = supervise(tmp_path, text + after())

    assert (status, run.find("job.started", job="last")) == (1, [])
    assert run.find("job.skipped", job="last")


@pytest.mark.parametrize(("probe", "script"), [("fd = 3", "echo >&3"), ("log = '^up$'", "echo up")])
def test_word_of_the_last_moment_counts(tmp_path: Path, probe: str, script: str) -> None:
    text = job("web", script, f"type = 'oneshot'\nready = {{ {probe} }}")

    status, run = supervise(tmp_path, text + after())

    assert (status, run.lines[-1], len(run.find("job.ready"))) == (0, "last | here", 1)


def test_line_that_would_be_searched_for_ever_holds_up_nobody(tmp_path: Path) -> None:
    line = "x" * 1000
    text = job("web", f"while :; do echo {line}; sleep 0.01; done", "ready = { log = '(x+)+y' }")

    with open_supervisor(tmp_path, text + job("other", f"echo here; {SLEEP}")) as run:
        run.wait_event("search.given_up", job="web")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state", job="web")
        status = run.terminate()

    assert (state["state"], status) == ("STARTING", 0)
    assert "other | here" in run.lines
    assert len(run.find("search.timed_out", job="web")) == 1


@requires_commands("python3")
@pytest.mark.parametrize("keys", ["", "network = 'host'", "isolate = false", "user = 'nobody'"])
def test_sd_notify_makes_a_job_ready_and_its_status_is_shown(tmp_path: Path, keys: str) -> None:
    text = python("web", NOTIFY, f"ready = {{ notify = true }}\n{keys}", "READY=1\nSTATUS=at work")

    with open_supervisor(tmp_path, text + after()) as run:
        run.wait_line("last | here")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state", job="web")
        run.terminate()

    assert (state["state"], state["status"]) == ("RUNNING", "at work")


@requires_commands("python3")
def test_job_cannot_say_of_another_one_that_it_is_ready(tmp_path: Path) -> None:
    text = python("web", NOTIFY, "ready = { notify = true }", "STATUS=not yet") + python(
        "spoof", SPOOF, "network = 'job:web'\ndepends_on = { web = 'started' }"
    )

    with open_supervisor(tmp_path, text) as run:
        run.wait_line("spoof | 1 sent")
        run.send(signal.SIGQUIT)
        state = run.wait_event("job.state", job="web")
        run.terminate()

    assert (state["state"], run.find("job.ready")) == ("STARTING", [])


# The examples


def test_example_of_the_readme_comes_up(tmp_path: Path) -> None:
    shutil.copytree(CONFIGS / "site", tmp_path / "site")

    with open_supervisor(tmp_path, (CONFIGS / "jobs.toml").read_text()) as run:
        run.wait_line("worker | <title>mocker</title>")
        status = run.terminate()

    assert status == 0
    assert run.find("job.ready", job="web")
    assert run.find("job.unhealthy") == []


def test_examples_of_readiness_get_ready(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, (CONFIGS / "readiness.toml").read_text()) as run:
        run.wait_line("last | all are ready")
        run.terminate()

    ready = sorted(event["job"] for event in run.find("job.ready"))
    assert ready == ["descriptor", "exec", "http", "log", "tcp"]


@requires_commands("python3")
def test_example_of_sd_notify_gets_ready(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, (CONFIGS / "notify.toml").read_text()) as run:
        run.wait_line("dependent | the notifier is ready")
        run.terminate()

    assert len(run.find("job.ready", job="notifier")) == 1


def test_examples_of_replicas_find_their_own_server(tmp_path: Path) -> None:
    with open_supervisor(tmp_path, (CONFIGS / "replicas.toml").read_text()) as run:
        run.wait_line("client | web-2")
        run.wait_line("report | three are ready")
        run.terminate()

    assert len(run.find("job.ready")) == 3
