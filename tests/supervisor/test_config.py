import attrs
import pytest

from mocker.isolation import SpecError
from mocker.supervisor.config import ContainerConfig, JobConfig


def make_job(**values: object) -> JobConfig:
    container = ContainerConfig(argv=("true",), rootfs="busybox", hostname="web", **values)  # type: ignore[arg-type]
    return JobConfig(name="web", group="web", container=container, grace=3.0, stop_signal=2)


def test_a_job_makes_the_spec_of_its_container() -> None:
    job = make_job(volumes=(("/srv", "/data", True),), tmpfs=(("/tmp", 4096, 0o700),))

    spec = job.make_spec()

    assert (spec.argv, spec.hostname, spec.grace, spec.stop_signal) == (("true",), "web", 3.0, 2)
    assert (spec.volumes[0].destination, spec.volumes[0].read_only) == ("/data", True)
    assert (spec.tmpfs[0].size, spec.tmpfs[0].mode) == (4096, 0o700)


def test_network_that_another_job_has_is_shared() -> None:
    job = make_job(network="job:db")

    assert job.make_spec().network == "shared"


def test_job_with_a_terminal_makes_a_container_with_one() -> None:
    job = make_job()

    assert not job.make_spec().terminal
    assert attrs.evolve(job, tty=True).make_spec().terminal


def test_jobs_that_mean_the_same_are_equal() -> None:
    assert make_job(env={"A": "1"}) == make_job(env={"A": "1"})
    assert make_job(env={"A": "1"}) != make_job(env={"A": "2"})


def test_what_no_host_could_carry_out_is_refused() -> None:
    job = make_job(volumes=(("relative", "/data", True),))

    with pytest.raises(SpecError, match="absolute"):
        job.make_spec()
