from pathlib import Path

import pytest

from mocker.supervisor.config import Backoff, GiveUp, JobConfig
from mocker.supervisor.job_keys import JOB_KEYS
from tests.configs import find_job_mistakes, load_job

PROMISED = """
    command type rootfs volumes tmpfs env env_file workdir user hostname network isolate replicas
    depends_on restart backoff give_up success_codes permanent_codes start_timeout timeout
    stop_signal grace critical ready alive schedule overlap run_on_start stdin tty userns
    rootfs_mode read_only ulimits
    cap_add cap_drop allow_new_privs seccomp umask nice oom_score_adj cpu_affinity landlock writable
    memory cpus pids io_weight stdout stderr output on_full max_line
    """


def test_keys_are_these() -> None:
    assert sorted(JOB_KEYS) == sorted(PROMISED.split())


def test_job_that_says_only_its_command_has_defaults(tmp_path: Path) -> None:
    job = load_job(tmp_path, "")

    assert job == JobConfig(name="web", group="web", container=job.container)


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ('type = "oneshot"', "kind", "oneshot"),
        ('restart = "always"', "restart", "always"),
        ("backoff = {}", "backoff", Backoff()),
        ("backoff = { initial = 0 }", "backoff", Backoff(initial=0.0)),
        (
            'backoff = { initial = "1s", factor = 1, max = "2s", jitter = 0, reset_after = "3s" }',
            "backoff",
            Backoff(initial=1.0, factor=1.0, max=2.0, jitter=0.0, reset_after=3.0),
        ),
        ('backoff = { initial = "1m" }', "backoff", Backoff(initial=60.0, max=60.0)),
        ('give_up = { failures = 5, within = "60s" }', "give_up", GiveUp(5, 60.0)),
        ("success_codes = [0, 3]", "success_codes", frozenset({0, 3})),
        ("success_codes = []", "success_codes", frozenset()),
        ("permanent_codes = [78, 255]", "permanent_codes", frozenset({78, 255})),
        ('start_timeout = "2m"', "start_timeout", 120.0),
        ('timeout = "90s"', "timeout", 90.0),
        ("timeout = 0", "timeout", None),
        ('stop_signal = "SIGINT"', "stop_signal", 2),
        ("grace = 0", "grace", 0.0),
        ("critical = true", "critical", True),
        ('schedule = "@daily"', "schedule", "@daily"),
        ('schedule = "@daily"\noverlap = "queue"', "overlap", "queue"),
        ('schedule = "@daily"\nrun_on_start = true', "run_on_start", True),
        ('stdin = "/dev/null"', "stdin", "/dev/null"),
        ("tty = true", "tty", True),
    ],
)
def test_key_becomes_a_value_of_the_job(
    tmp_path: Path, keys: str, field: str, value: object
) -> None:
    assert getattr(load_job(tmp_path, keys), field) == value


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        ("restrat = 1", "restrat: unknown key; did you mean 'restart'?"),
        ('Restart = "never"', "Restart: unknown key; did you mean 'restart'?"),
        (
            'restart = "alway"',
            "restart: must be one of 'always', 'on-failure', 'never', not 'alway'; "
            "did you mean 'always'?",
        ),
        ("restart = true", "restart: must be one of 'always', 'on-failure', 'never', not true"),
        ("type = 1", "type: must be one of 'service', 'oneshot', not 1"),
        ("replicas = 0", "replicas: must be a whole number from 1 to 10000, not 0"),
        ('replicas = "2"', "replicas: must be a whole number from 1 to 10000, not '2'"),
        ("backoff = 1", "backoff: must be a table, not 1"),
        ("backoff = { inital = 1 }", "backoff.inital: unknown key; did you mean 'initial'?"),
        ("backoff = { factor = 0.5 }", "backoff.factor: must be a number from 1 to 1000, not 0.5"),
        ("backoff = { jitter = 2 }", "backoff.jitter: must be a number from 0 to 1, not 2"),
        (
            "backoff = { initial = 2, max = 1 }",
            "backoff: must have a max of at least initial, 2 s",
        ),
        ("give_up = { failures = 5 }", "give_up: needs within"),
        ("give_up = {}", "give_up: needs failures and within"),
        (
            "give_up = { failures = 0, within = 1 }",
            "give_up.failures: must be a whole number from 1 to 1000000, not 0",
        ),
        ("give_up = { failures = 1, within = 0 }", "give_up.within: must be longer than 0"),
        ("success_codes = 0", "success_codes: must be an array, not 0"),
        (
            "success_codes = [256]",
            "success_codes[0]: must be a whole number from 0 to 255, not 256",
        ),
        (
            "permanent_codes = [true]",
            "permanent_codes[0]: must be a whole number from 0 to 255, not true",
        ),
        ("start_timeout = 0", "start_timeout: must be longer than 0"),
        ('stop_signal = "TERMM"', "stop_signal: must be a signal such as TERM, not 'TERMM'"),
        ("stop_signal = 15", "stop_signal: must be text, not 15"),
        (
            'stop_signal = "KILL"',
            "stop_signal: stop signal must be one that can be handled, not 9; "
            "a grace period of 0 kills at once",
        ),
        (
            "grace = -1",
            "grace: must be a duration such as '500ms', '10s' or '2m', not -1",
        ),
        ('grace = "1w"', "grace: must be a duration such as '500ms', '10s' or '2m', not '1w'"),
        ('critical = "yes"', "critical: must be true or false, not 'yes'"),
        ("stdin = 0", "stdin: must be text, not 0"),
        ("tty = 1", "tty: must be true or false, not 1"),
        ("depends_on = 1", "depends_on: must be a table, not 1"),
        ("depends_on = [1]", "depends_on[0]: must be text, not 1"),
        (
            'depends_on = { web = "reedy" }',
            "depends_on.web: must be one of 'started', 'ready', 'completed', 'exited', "
            "not 'reedy'; did you mean 'ready'?",
        ),
    ],
)
def test_what_a_key_cannot_mean_is_refused(tmp_path: Path, keys: str, mistake: str) -> None:
    assert find_job_mistakes(tmp_path, keys) == [mistake]


def test_what_is_no_schedule_is_refused(tmp_path: Path) -> None:
    (mistake,) = find_job_mistakes(tmp_path, 'schedule = "* * *"')

    assert mistake.startswith("schedule: must be a schedule such as '*/5 * * * *' or '@daily', not")
