import math

import pytest

from mocker.isolation import Limits, SpecError


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"memory": 6 * 2**20 - 1}, "memory must be 6291456 to .* bytes, not 6291455"),
        ({"memory": 2**63}, "memory must be .* not 9223372036854775808"),
        ({"cpus": 0.009}, r"cpus must be 0.01 to 8192.0, not 0.009"),
        ({"cpus": 8192.5}, "cpus must be .* not 8192.5"),
        ({"cpus": math.nan}, "cpus must be .* not nan"),
        ({"cpus": math.inf}, "cpus must be .* not inf"),
        ({"pids": 1}, "pids must be 2 to 4194304, not 1"),
        ({"pids": -1}, "pids must be .* not -1"),
        ({"pids": 2**22 + 1}, "pids must be .* not 4194305"),
        ({"io_weight": 0}, "io_weight must be 1 to 10000, not 0"),
        ({"io_weight": 10001}, "io_weight must be .* not 10001"),
    ],
)
def test_number_that_no_host_could_carry_out_is_refused(
    fields: dict[str, float], message: str
) -> None:
    with pytest.raises(SpecError, match=message):
        Limits(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("limits", "needed"),
    [
        (Limits(), ()),
        (Limits(memory=2**28), ("memory",)),
        (Limits(cpus=1.5), ("cpu",)),
        (Limits(pids=2), ("pids",)),
        (Limits(io_weight=1), ("io",)),
        (
            Limits(memory=2**28, cpus=0.01, pids=100, io_weight=10000),
            ("cpu", "io", "memory", "pids"),
        ),
    ],
)
def test_limits_need_the_controllers_that_enforce_them(
    limits: Limits, needed: tuple[str, ...]
) -> None:
    assert limits.controllers == needed
