"""Who can be attended to in the foreground, by what they have."""

import pytest

from mocker.isolation import Container
from mocker.supervisor.attended import Attended
from mocker.supervisor.client.executed import Executed


@pytest.mark.parametrize("kind", [Container, Executed])
def test_containers_and_what_is_executed_can_be_attended_to(kind: type) -> None:
    methods = {name for name in vars(Attended) if not name.startswith("_")}

    assert methods == {"control_fd", "poll", "take_stop", "send_signal", "kill"}
    assert methods <= set(dir(kind))
