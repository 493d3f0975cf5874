from pathlib import Path

import pytest

from mocker.supervisor.config import Probe
from tests.configs import find_job_mistakes, load_job


@pytest.mark.parametrize(
    ("text", "probe"),
    [
        ("{ tcp = 8080 }", Probe(kind="tcp", target=8080)),
        ('{ tcp = "${PORT}" }', Probe(kind="tcp", target=9090)),
        (
            '{ http = "http://127.0.0.1:8080/a?b" }',
            Probe(kind="http", target="http://127.0.0.1:8080/a?b"),
        ),
        ('{ http = "http://[::1]" }', Probe(kind="http", target="http://[::1]")),
        ('{ exec = ["test", "-e", "/x"] }', Probe(kind="exec", target=("test", "-e", "/x"))),
        ('{ exec = "test -e /x" }', Probe(kind="exec", target=("test", "-e", "/x"))),
        ('{ log = "ready$" }', Probe(kind="log", target="ready$")),
        ("{ notify = true }", Probe(kind="notify")),
        ("{ fd = 3 }", Probe(kind="fd", target=3)),
        (
            '{ tcp = 1, interval = "100ms", timeout = 2, failures = 9 }',
            Probe(kind="tcp", target=1, interval=0.1, timeout=2.0, failures=9),
        ),
    ],
)
def test_readiness_is_asked_in_one_of_six_ways(tmp_path: Path, text: str, probe: Probe) -> None:
    assert load_job(tmp_path, f"ready = {text}", {"PORT": "9090"}).ready == probe


@pytest.mark.parametrize(
    ("text", "kind"),
    [("{ tcp = 1 }", "tcp"), ('{ http = "http://[::1]/" }', "http"), ('{ exec = "a" }', "exec")],
)
def test_life_is_asked_for_in_three_of_them(tmp_path: Path, text: str, kind: str) -> None:
    alive = load_job(tmp_path, f"alive = {text}").alive

    assert alive is not None
    assert alive.kind == kind


@pytest.mark.parametrize("text", ['{ log = "a" }', "{ notify = true }", "{ fd = 3 }"])
def test_rest_is_for_readiness_only(tmp_path: Path, text: str) -> None:
    kind = text.split()[1]

    assert find_job_mistakes(tmp_path, f"alive = {text}") == [
        f"alive: must be one of tcp, http, exec; {kind} is for readiness only"
    ]


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("8080", "ready: must be a table, not 8080"),
        ("{}", "ready: must have one of tcp, http, exec, log, notify, fd, and has none"),
        (
            '{ tcp = 1, log = "a" }',
            "ready: must have one of tcp, http, exec, log, notify, fd, and has tcp and log",
        ),
        ("{ tpc = 1 }", "ready.tpc: unknown key; did you mean 'tcp'?"),
        ("{ tcp = 0 }", "ready.tcp: must be a whole number from 1 to 65535, not 0"),
        ("{ tcp = 65536 }", "ready.tcp: must be a whole number from 1 to 65535, not 65536"),
        ("{ tcp = true }", "ready.tcp: must be a whole number from 1 to 65535, not true"),
        ('{ tcp = "80" }', "ready.tcp: must be a whole number from 1 to 65535, not '80'"),
        ("{ fd = 2 }", "ready.fd: must be a whole number from 3 to 255, not 2"),
        ("{ notify = false }", "ready.notify: must be true, or not be there"),
        ("{ exec = [] }", "ready.exec: must name a command"),
        ("{ tcp = 1, interval = 0 }", "ready.interval: must be longer than 0"),
        (
            "{ tcp = 1, failures = 0 }",
            "ready.failures: must be a whole number from 1 to 1000, not 0",
        ),
    ],
)
def test_what_asks_nothing_is_refused(tmp_path: Path, text: str, mistake: str) -> None:
    assert find_job_mistakes(tmp_path, f"ready = {text}") == [mistake]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8080",
        "ftp://127.0.0.1/",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1/a b",
        "http://127.0.0.1/\\r\\nX:",
    ],
)
def test_what_is_no_url_is_refused(tmp_path: Path, url: str) -> None:
    (mistake,) = find_job_mistakes(tmp_path, f'ready = {{ http = "{url}" }}')

    assert mistake.startswith("ready.http: must be a URL such as 'http://127.0.0.1:8080/', not ")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("https://127.0.0.1/", "TLS is not spoken"),
        ("http://db/", "no name is looked up, and 'db' is neither an address nor localhost"),
    ],
)
def test_url_that_is_none_of_a_probe_says_why(tmp_path: Path, url: str, reason: str) -> None:
    (mistake,) = find_job_mistakes(tmp_path, f'ready = {{ http = "{url}" }}')

    assert mistake.endswith(f"not '{url}'; {reason}")
