"""What is wrong with a request, as its answer has it."""

import json
from collections.abc import Sequence
from typing import Literal

# Those that are answered, in HTTP or to who executes or attaches; `openapi.json` has them as well.
Code = Literal[
    "bad-request",
    "busy",
    "cannot-execute",
    "cannot-scale",
    "config-rejected",
    "internal",
    "needed",
    "no-such-job",
    "no-such-method",
    "no-such-resource",
    "no-such-signal",
    "no-terminal",
    "not-allowed",
    "not-running",
    "paused",
    "stalled",
    "stopping",
    "token-needed",
    "too-big",
    "too-many",
    "too-many-jobs",
    "too-slow",
    "wrong-host",
    "wrong-token",
]


class RequestError(Exception):
    """A request that is refused.

    Attributes:
        code: What programs look at; stays the same from version to version.
        status: Of HTTP.
        jobs: Those that it is about.
    """

    def __init__(self, code: Code, status: int, message: str, jobs: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.code, self.status, self.jobs = code, status, tuple(jobs)

    def render(self) -> dict[str, object]:
        """Return the body of the answer."""
        error: dict[str, object] = {"code": self.code, "message": str(self)}
        if self.jobs:
            error["jobs"] = list(self.jobs)
        return {"error": error}

    def render_answer(self) -> bytes:
        """Return the whole answer, as HTTP/1.1 has it: the last one of a connection."""
        body = json.dumps(self.render()).encode()
        head = [
            f"HTTP/1.1 {self.status} {self.code}",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            "Connection: close",
        ]
        return "\r\n".join([*head, "", ""]).encode() + body


CROWDED = RequestError(
    "busy", 503, "cannot wait for the request: too many others are connected; try again"
)


def make_too_slow(what: str, limit_s: float) -> RequestError:
    """Return what is told to who takes too long to say something, such as "a request"."""
    return RequestError("too-slow", 408, f"{what} may take {limit_s:g} s")
