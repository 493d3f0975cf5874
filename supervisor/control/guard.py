"""Who may look at a supervisor, and who may do anything with it.

Its owner and root may do all. Those whom the file lets look may look, and wait for what they see to
change, but not look at the environment of jobs; commands they see, with the values of variables in
them. Of somebody on a TCP connection nothing is known, so each request has to bring the token; and
the name that it has for the host must be that of the listener. Otherwise a page in a browser could
reach it under a name of its own, which leads to this address (DNS rebinding).

Source: RFC 6750 on the token and the answer to a wrong one, RFC 9110 15.5.20 on status 421.
"""

import hmac
import re
from collections.abc import Iterable, Mapping

import structlog
import trio

from ..config import ControlConfig
from .peers import Peer, Remote
from .problems import Code, RequestError

log = structlog.get_logger("mocker.control")

_LOOKING = {"GET", "HEAD"}
_WAITING = ("POST", "/v1/wait")  # changes nothing; its names may be too many for a URL
_OF_ONE_JOB = "/v1/jobs/"  # what is below has its environment
_BEARER = re.compile(rb"bearer +(\S+)", re.IGNORECASE)
_HTTP_PORT = 80
_EVERYWHERE = {"0.0.0.0", "::"}  # noqa: S104 - it listens there if the file says so
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[0-9.]+|localhost)(?::([0-9]+))?")

_REPEATED_S = 60.0  # between two events about the same one

Headers = Iterable[tuple[bytes, bytes]]


class TokenError(RequestError):
    """A request without the token.

    Attributes:
        headers: Those that its answer has.
    """

    def __init__(self, code: Code, message: str, challenge: str) -> None:
        super().__init__(code, 401, message)
        self.headers = {"WWW-Authenticate": challenge}


class Guard:
    """What decides about those who ask, and tells whom it has refused."""

    def __init__(self, control: ControlConfig) -> None:
        self._control = control
        self._told: dict[object, float] = {}  # when, by who it was

    def lets_in(self, peer: Peer | Remote) -> bool:
        """Return whether somebody may ask anything at all."""
        return isinstance(peer, Remote) or peer.may_do_all or self._may_look(peer)

    def check_owner(self, peer: Peer, deed: str) -> None:
        """Refuse what only the supervisor's owner and root may do.

        Args:
            peer: Who wants to do it.
            deed: What it is, for the sentence about it.

        Raises:
            RequestError: It is refused.
        """
        if not peer.may_do_all:
            text = f"only the supervisor's owner and root may do that: {deed}"
            raise RequestError("not-allowed", 403, text)

    def check(self, peer: Peer | Remote, method: str, path: str, headers: Headers) -> None:
        """Refuse a request, unless whoever has sent it may have what he asks for.

        Args:
            peer: Who that is.
            method: Of HTTP.
            path: Of the resource, decoded.
            headers: Names and values; names in small letters.

        Raises:
            RequestError: It is refused.
        """
        if isinstance(peer, Remote):
            self._check_host([value for name, value in headers if name == b"host"])
            self._check_token([value for name, value in headers if name == b"authorization"])
        elif not (self._may_look(peer) and _only_looks(method, path)):
            self.check_owner(peer, f"{method} {path}")

    def tell(self, peer: Peer | Remote, error: RequestError) -> None:
        """Log that somebody was refused, unless that was just said."""
        facts: Mapping[str, object]
        if isinstance(peer, Remote):
            facts = {"address": peer.address}
        else:
            facts = {"uid": peer.uid, "pid": peer.pid}
        who = next(iter(facts.items()))
        now = trio.current_time()
        self._told = {one: at for one, at in self._told.items() if now - at < _REPEATED_S}
        if who not in self._told:
            self._told[who] = now
            log.warning("control.refused", **facts, code=error.code)

    def _may_look(self, peer: Peer) -> bool:
        gids = self._control.gids
        return (
            peer.uid in self._control.uids or peer.gid in gids or not gids.isdisjoint(peer.groups)
        )

    def _check_host(self, hosts: list[bytes]) -> None:
        if len(hosts) != 1 or not self._is_ours(hosts[0].decode("latin-1").lower()):
            raise RequestError("wrong-host", 421, "the request is meant for another host")

    def _is_ours(self, host: str) -> bool:
        if self._control.listen is None:
            return False
        address, port = self._control.listen
        match = _HOST.fullmatch(host)
        if match is None or int(match[2] or _HTTP_PORT) != port:
            return False
        name = match[1].strip("[]")
        # An address leads where it says; it is names that lead somebody astray.
        return name in {address, "localhost"} or address in _EVERYWHERE

    def _check_token(self, values: list[bytes]) -> None:
        challenge = 'Bearer realm="mocker"'
        if not values:
            text = "'Authorization: Bearer TOKEN' is needed, the token of the file's [control]"
            raise TokenError("token-needed", text, challenge)
        match = _BEARER.fullmatch(values[0])
        token = self._control.token.encode()
        if (
            len(values) > 1
            or match is None
            or not token
            or not hmac.compare_digest(match[1], token)
        ):
            challenge += ', error="invalid_token"'
            raise TokenError("wrong-token", "it is another token", challenge)


def _only_looks(method: str, path: str) -> bool:
    return (method, path) == _WAITING or (method in _LOOKING and not path.startswith(_OF_ONE_JOB))
