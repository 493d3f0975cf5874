"""Who can wait for a client, by what they have."""

from inspect import iscoroutinefunction

import pytest

from mocker.supervisor.client.blocking_transport import BlockingTransport
from mocker.supervisor.client.question import LoopTransport
from mocker.supervisor.client.transport import Transport
from mocker.supervisor.client.trio_transport import TrioTransport


@pytest.mark.parametrize("kind", [BlockingTransport, LoopTransport, TrioTransport])
def test_all_wait_by_the_same_methods(kind: type) -> None:
    methods = {name for name in vars(Transport) if not name.startswith("_")}

    assert methods == {"find", "connect", "wait_readable", "wait_writable", "forget"}
    assert all(iscoroutinefunction(getattr(kind, name)) == (name != "forget") for name in methods)
