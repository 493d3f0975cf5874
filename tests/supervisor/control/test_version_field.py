from starlette.responses import JSONResponse
from starlette.types import Message

from mocker.supervisor.control.version_field import VersionField


async def test_head_of_an_answer_tells_the_version_besides_the_rest() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        sent.append(message)

    await VersionField(JSONResponse({"error": {}}, 404), "0.1.0")({"type": "http"}, receive, send)

    start, body = sent
    assert (start["status"], body["body"]) == (404, b'{"error":{}}')
    assert start["headers"][-1] == (b"mocker-version", b"0.1.0")
    assert (b"content-type", b"application/json") in start["headers"]
