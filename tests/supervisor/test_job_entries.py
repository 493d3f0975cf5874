from pathlib import Path

import pytest

from tests.configs import find_job_mistakes, find_mistakes, load, load_job


def test_defaults_are_for_every_job(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [defaults]
        grace = "3s"
        command = "sleep 1"
        [jobs.a]
        [jobs.b]
        grace = "4s"
        command = "sleep 2"
        """,
    )

    assert [(job.grace, job.container.argv[1]) for job in config.jobs.values()] == [
        (3.0, "1"),
        (4.0, "2"),
    ]


def test_value_of_a_job_takes_the_place_of_the_whole_default(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [defaults]
        backoff = { initial = 5, factor = 3 }
        volumes = ["/a:/a"]
        [jobs.web]
        command = "true"
        backoff = { factor = 2 }
        volumes = []
        """,
    )

    assert config.jobs["web"].backoff.initial == 0.5
    assert config.jobs["web"].container.volumes == ()


def test_variables_are_put_together_the_most_special_first(tmp_path: Path) -> None:
    (tmp_path / "one.env").write_text("A=one\nB=one\nC=one\nD=one\n")
    (tmp_path / "two.env").write_text("B=two\nC=two\nD=two\n")

    config = load(
        tmp_path,
        """
        [defaults]
        env = { C = "defaults", D = "defaults", E = "defaults" }
        [jobs.web]
        command = "true"
        env_file = ["one.env", "two.env"]
        env = { D = "job" }
        """,
    )

    assert config.jobs["web"].container.env == {
        "A": "one",
        "B": "two",
        "C": "defaults",
        "D": "job",
        "E": "defaults",
    }


def test_variable_of_the_environment_comes_before_that_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "web.env").write_text("A=file\nB=file\n")

    job = load_job(
        tmp_path,
        """
        env_file = "${FILE}.env"
        env = { X = "${A} ${B}" }
        workdir = "/${B}"
        """,
        {"A": "caller", "FILE": "web"},
    )

    assert job.container.env["X"] == "caller file"
    assert job.container.env["A"] == "file"
    assert job.container.workdir == "/file"


def test_undefined_variable_is_told_at_its_place(tmp_path: Path) -> None:
    found = find_job_mistakes(tmp_path, 'env = { X = "${A}" }\nvolumes = ["${B}:/b"]')

    assert found == [
        "env.X: variable A is not defined; ${A:-…} gives it a default",
        "volumes[0]: variable B is not defined; ${B:-…} gives it a default",
    ]


def test_files_of_variables_are_all_looked_at(tmp_path: Path) -> None:
    (tmp_path / "bad.env").write_text("A=1\n=\n")
    (tmp_path / "dir").mkdir()

    found = find_job_mistakes(tmp_path, 'env_file = ["no.env", "dir", "bad.env"]\ngrace = "x"')

    assert found == [
        "env_file: 'no.env' cannot be read: No such file or directory (ENOENT)",
        "env_file: 'dir' cannot be read: it is a directory",
        "env_file: bad.env:2: must be NAME=VALUE, not '='",
        "grace: must be a duration such as '500ms', '10s' or '2m', not 'x'",
    ]


def test_variable_is_not_missed_where_a_file_of_variables_cannot_be_read(tmp_path: Path) -> None:
    found = find_job_mistakes(tmp_path, 'env_file = "no.env"\nenv = { X = "${A}", Y = "${B:-b}" }')

    assert found == ["env_file: 'no.env' cannot be read: No such file or directory (ENOENT)"]


def test_key_with_a_mistake_is_no_missing_key(tmp_path: Path) -> None:
    found = find_job_mistakes(tmp_path, 'schedule = 1\noverlap = "skip"\n')

    assert found == ["schedule: must be text, not 1"]


def test_replica_is_not_missed_where_their_number_is_a_mistake(tmp_path: Path) -> None:
    found = find_job_mistakes(
        tmp_path, 'replicas = "x"\n[jobs.db]\ncommand = "db"\ndepends_on = ["web-2"]\n'
    )

    assert found == ["replicas: must be a whole number from 1 to 10000, not 'x'"]


def test_mistake_of_the_defaults_is_told_once_and_there(tmp_path: Path) -> None:
    found = find_mistakes(
        tmp_path,
        """
        [defaults]
        restart = "alway"
        [jobs.a]
        command = "a"
        [jobs.b]
        command = "b"
        restart = "never"
        """,
    )

    assert len(found) == 1
    assert found[0].startswith("2: defaults.restart: must be one of ")


def test_unknown_default_is_a_mistake(tmp_path: Path) -> None:
    found = find_mistakes(tmp_path, '[defaults]\ngrac = 1\n[jobs.a]\ncommand = "a"\n')

    assert found == ["2: defaults.grac: unknown key; did you mean 'grace'?"]


def test_job_without_a_command_is_a_mistake(tmp_path: Path) -> None:
    assert find_mistakes(tmp_path, "\n[jobs.web]\ngrace = 1\n") == ["1: jobs.web: needs a command"]


def test_replicas_differ_in_name_and_host_name(tmp_path: Path) -> None:
    config = load(tmp_path, '[jobs.web]\ncommand = "true"\nreplicas = 3\n')

    found = [(job.name, job.group, job.container.hostname) for job in config.jobs.values()]
    assert found == [(f"web-{n}", "web", f"web-{n}") for n in (1, 2, 3)]


def test_replicas_share_the_host_name_that_they_are_given(tmp_path: Path) -> None:
    config = load(tmp_path, '[jobs.web]\ncommand = "true"\nreplicas = 2\nhostname = "h"\n')

    assert {job.container.hostname for job in config.jobs.values()} == {"h"}


def test_replica_stays_the_same_when_others_are_added(tmp_path: Path) -> None:
    one = load(tmp_path, '[jobs.web]\ncommand = "true"\nreplicas = 1\n')
    two = load(tmp_path, '[jobs.web]\ncommand = "true"\nreplicas = 2\n')

    assert one.jobs == {"web-1": two.jobs["web-1"]}


def test_job_that_says_nothing_of_replicas_has_no_number(tmp_path: Path) -> None:
    assert load_job(tmp_path, "").name == "web"


@pytest.mark.parametrize(
    ("keys", "restart"),
    [
        ("", "on-failure"),
        ('type = "service"', "on-failure"),
        ('type = "oneshot"', "never"),
        ('type = "oneshot"\nrestart = "on-failure"', "on-failure"),
        ('schedule = "@daily"', "never"),
    ],
)
def test_oneshot_is_not_restarted_unless_it_says_so(
    tmp_path: Path, keys: str, restart: str
) -> None:
    assert load_job(tmp_path, keys).restart == restart


def test_restart_of_the_defaults_is_for_services(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [defaults]
        restart = "always"
        [jobs.a]
        command = "a"
        [jobs.b]
        command = "b"
        type = "oneshot"
        """,
    )

    assert [job.restart for job in config.jobs.values()] == ["always", "never"]


def test_job_on_a_schedule_is_a_oneshot(tmp_path: Path) -> None:
    assert load_job(tmp_path, 'schedule = "@daily"').kind == "oneshot"


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        (
            'type = "service"\nschedule = "@daily"',
            "schedule: is for a oneshot; make the type 'oneshot', or leave it out",
        ),
        ('overlap = "skip"', "overlap: needs a schedule"),
        ("run_on_start = false", "run_on_start: needs a schedule"),
        (
            'type = "oneshot"\nrestart = "always"',
            "restart: must be 'on-failure' or 'never' for a oneshot, not 'always'",
        ),
        (
            'schedule = "@daily"\ncritical = true',
            "critical: is not for a job with a schedule, which never ends for good",
        ),
        ("permanent_codes = [0, 1]", "permanent_codes: must not have success codes, and has 0"),
        (
            "success_codes = [2, 1]\npermanent_codes = [1, 2, 3]",
            "permanent_codes: must not have success codes, and has 1, 2",
        ),
        ("tty = true\nisolate = false", "tty: is not to be had with isolate = false"),
        (
            'tty = true\nstdin = "words"',
            "stdin: is not to be had with tty = true: the terminal is its stdin",
        ),
    ],
)
def test_keys_that_exclude_each_other_are_a_mistake(
    tmp_path: Path, keys: str, mistake: str
) -> None:
    assert find_job_mistakes(tmp_path, keys) == [mistake]


@pytest.mark.parametrize(
    ("keys", "mistake"),
    [
        (
            'rootfs_mode = "rw"',
            "rootfs mode 'rw' needs a directory as rootfs, not 'busybox'",
        ),
        (
            'tmpfs = ["/t"]\nvolumes = ["/a:/t"]',
            "two volumes or tmpfs have the destination '/t'",
        ),
    ],
)
def test_container_that_no_host_could_make_is_a_mistake(
    tmp_path: Path, keys: str, mistake: str
) -> None:
    found = find_mistakes(tmp_path, f'[jobs.web]\ncommand = "true"\n{keys}\n')

    assert found == [f"1: jobs.web: {mistake}"]


def test_host_name_that_a_replica_makes_too_long_is_a_mistake(tmp_path: Path) -> None:
    (mistake,) = find_mistakes(tmp_path, f'[jobs.{"a" * 63}]\ncommand = "a"\nreplicas = 2\n')

    assert "host name must have 1 to 64 bytes" in mistake
