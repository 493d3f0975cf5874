"""An answer that is one JSON object."""

import json

from starlette.responses import JSONResponse


class Answer(JSONResponse):
    """An answer whose text may be anything that a job, a file or a request calls itself."""

    def render(self, content: object) -> bytes:
        """Return it as ASCII: half a surrogate has no UTF-8."""
        return json.dumps(content, separators=(",", ":")).encode()
