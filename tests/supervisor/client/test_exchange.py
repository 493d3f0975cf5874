import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.client.address import NoSupervisorError
from mocker.supervisor.client.exchange import (
    Answer,
    AnswerError,
    ProtocolError,
    check_line,
    get_value,
    list_objects,
    parse_lines,
    parse_object,
    render_request,
)

HEAD = b"HTTP/1.1 200 \r\nmocker-version: 0.1.0\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"

bodies = st.binary(max_size=200)
cuts = st.lists(st.integers(0, 600), max_size=20)


def with_length(body: bytes) -> bytes:
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def in_chunks(chunks: list[bytes]) -> bytes:
    parts = [b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in chunks]
    return CHUNKED + b"".join(parts) + b"0\r\n\r\n"


def cut(data: bytes, at: list[int]) -> list[bytes]:
    """Return the pieces of some bytes, as a connection might bring them; none is empty."""
    ends = [*sorted(at), len(data)]
    pieces = [data[start:end] for start, end in zip([0, *ends], ends, strict=False)]
    return [piece for piece in pieces if piece]


def read(*pieces: bytes) -> tuple[int, str, bool, bytes]:
    """Return what is understood of an answer: status, version, whether it is whole, body."""
    answer = Answer()
    body = b""
    for piece in pieces:
        answer.feed(piece)
        body += answer.take_body()
    return answer.status, answer.version, answer.at_end, body


@given(bodies, cuts)
def test_answer_with_a_length_is_the_same_however_it_comes(body: bytes, at: list[int]) -> None:
    assert read(*cut(with_length(body), at)) == (200, "0.1.0", True, body)


@given(st.lists(bodies.filter(bool), max_size=5), cuts)
def test_answer_in_chunks_is_the_same_however_it_comes(chunks: list[bytes], at: list[int]) -> None:
    assert read(*cut(in_chunks(chunks), at)) == (200, "0.1.0", True, b"".join(chunks))


@given(bodies, cuts)
def test_answer_without_a_length_lasts_until_the_connection_ends(
    body: bytes, at: list[int]
) -> None:
    data = HEAD + b"\r\n" + body

    assert read(*cut(data, at)) == (200, "0.1.0", False, body)
    assert read(*cut(data, at), b"") == (200, "0.1.0", True, body)


@given(st.lists(st.dictionaries(st.text(), st.integers()), max_size=5), cuts)
def test_lines_are_the_same_however_they_come(
    lines: list[dict[str, object]], at: list[int]
) -> None:
    answer = Answer()
    found = []
    for piece in cut(in_chunks([json.dumps(line).encode() + b"\n" for line in lines]), at):
        answer.feed(piece)
        found += parse_lines(answer.take_text())

    assert (found, answer.at_end) == (lines, True)


@given(st.data())
def test_answer_that_ends_too_early_is_no_answer(data: st.DataObject) -> None:
    whole = data.draw(st.sampled_from([with_length(b"body"), in_chunks([b"bo", b"dy"])]))
    # After the last size nothing is waited for.
    length = data.draw(st.integers(0, len(whole.removesuffix(b"\n").removesuffix(b"0\r\n\r")) - 1))

    with pytest.raises(ProtocolError, match="the connection ended in the middle"):
        read(*cut(whole[:length], [length // 2]), b"")


@given(
    st.one_of(
        st.binary(),
        st.binary().map(lambda noise: HEAD + noise),
        st.binary().map(lambda noise: CHUNKED + noise),
        st.binary().map(lambda noise: HEAD + b"Content-Length:" + noise + b"\r\n\r\n"),
        st.text("0123456789abcdefxX+-_ \r\n").map(lambda noise: CHUNKED + noise.encode()),
    ),
    cuts,
)
def test_garbage_is_an_answer_or_none_and_nothing_else(garbage: bytes, at: list[int]) -> None:
    answer = Answer()
    try:
        for piece in [*cut(garbage, at), b""]:
            answer.feed(piece)
            parse_lines(answer.take_text())
    except ProtocolError:
        return

    assert answer.at_end


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "it begins with 'SSH-2.0-OpenSSH_9.2'"),
        (b"HTTP/2 200\r\n\r\n", "it begins with 'HTTP/2 200'"),
        (b"HTTP/1.1 20\r\n\r\n", "it begins with 'HTTP/1.1 20'"),
        (b"HTTP/1.1 100 \r\n\r\n", "it begins with 'HTTP/1.1 100 '"),
        (b"HTTP/1.1 2000\r\n\r\n", "it begins with 'HTTP/1.1 2000'"),
        (b"HTTP/1.1 " + b"9" * 5000 + b"\r\n\r\n", "it begins with"),
        (b"x" * 2**17, "its head has no end"),
        (HEAD + b"Content-Length: -1\r\n\r\n", "a size is '-1'"),
        (HEAD + b"Content-Length: 1_0\r\n\r\n", "a size is '1_0'"),
        (HEAD + b"Content-Length: " + b"1" * 5000 + b"\r\n\r\n", "a size is '1111"),
        (HEAD + b"Content-Length:\r\n\r\n", "a size is ''"),
        (CHUNKED + b"0x3\r\nabc\r\n", "a size is '0x3'"),
        (CHUNKED + b"\r\n", "a size is ''"),
        (CHUNKED + b"1" * 2**17, "a size has no end"),
        (CHUNKED + b"3\r\nabcd\r\n", "a part of it is longer than it says"),
    ],
)
def test_what_no_supervisor_says_has_a_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ProtocolError, match=f"^{reason}"):
        read(data)


def test_chunks_count_where_a_length_is_told_as_well() -> None:
    head = HEAD + b"Content-Length: 1000\r\n"

    assert read(in_chunks([b"body"]).replace(HEAD, head)) == (200, "0.1.0", True, b"body")


def test_what_follows_an_answer_is_ignored() -> None:
    assert read(with_length(b"body") + b"more") == (200, "0.1.0", True, b"body")


def test_answer_is_granted_as_soon_as_its_head_is_there() -> None:
    answer = Answer()
    answer.feed(HEAD)
    before = answer.check_granted()
    answer.feed(b"\r\n")

    assert (before, answer.check_granted(), answer.at_end) == (False, True, False)


def test_refusal_is_an_error_once_it_says_why() -> None:
    whole = with_length(b'{"error": {"message": "not now"}}').replace(b"200", b"409")
    answer = Answer()
    answer.feed(whole[:-1])
    before = answer.check_granted()
    answer.feed(whole[-1:])

    with pytest.raises(AnswerError, match=r"^not now$"):
        answer.check_granted()
    assert before is False


def test_answer_that_is_whole_is_an_object() -> None:
    answer = Answer()
    answer.feed(with_length(b'{"jobs": []}'))

    assert answer.take_object() == {"jobs": []}


def test_refusal_is_no_object() -> None:
    answer = Answer()
    answer.feed(with_length(b"{}").replace(b"200", b"500"))

    with pytest.raises(AnswerError, match=r"^the answer is HTTP 500$"):
        answer.take_object()


def test_end_without_a_byte_is_no_supervisor() -> None:
    with pytest.raises(NoSupervisorError, match="it is gone, or lets nobody in"):
        Answer().feed_received(b"")


@pytest.mark.parametrize("begun", [b"SSH-2.0", CHUNKED])
def test_end_after_a_byte_is_that_of_an_answer(begun: bytes) -> None:
    answer = Answer()
    answer.feed_received(begun)

    with pytest.raises(ProtocolError, match="the connection ended in the middle"):
        answer.feed_received(b"")


def test_supervisor_that_does_not_tell_its_version_has_none() -> None:
    assert read(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n") == (403, "", True, b"")


def test_last_line_that_is_not_whole_is_no_line() -> None:
    answer = Answer()
    answer.feed(in_chunks([b'{"a": 1}\n{"b"']))

    assert answer.take_text() == b'{"a": 1}\n'
    with pytest.raises(ProtocolError, match="its last line is not whole"):
        answer.take_text()


def test_many_lines_are_read_at_once() -> None:
    assert parse_lines(b'{"line":"1"}\n{"line":"a\\nb"}\n') == [{"line": "1"}, {"line": "a\nb"}]


def test_no_lines_are_none() -> None:
    assert parse_lines(b"") == []


@pytest.mark.parametrize("text", [b"x\n", b"1\n", b"[]\n", b"\n", b"{}{}\n", b"[" * 10**5 + b"\n"])
def test_what_no_supervisor_tells_is_refused(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_lines(text + b'{"line":""}\n')


def test_line_that_says_why_there_are_no_more_is_an_error() -> None:
    check_line({"line": "error"})

    with pytest.raises(AnswerError, match="too many") as error:
        check_line({"error": {"code": "busy", "message": "too many"}})

    assert error.value.code == "busy"


def test_refusal_to_execute_has_the_exit_status_for_it() -> None:
    text = '{"error": {"code": "cannot-execute", "message": "no \udcff"}, "exit_code": 127}'

    error = AnswerError(0, text)

    assert (error.code, error.exit_code, str(error)) == ("cannot-execute", 127, "no \udcff")
    assert AnswerError(409, b'{"error": {"code": "x", "message": "y"}}').exit_code is None


@pytest.mark.parametrize(
    "text",
    [b"", b"{", b"1", b"[]", b"null", b"\xff", b'"text"', b"[" * 100_000, b"9" * 10_000],
    ids=lambda text: repr(text[:9]),
)
def test_what_is_no_object_is_no_answer(text: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_object(text)


@given(st.binary())
def test_refusal_is_a_sentence_whatever_its_body_is(body: bytes) -> None:
    error = AnswerError(500, body)

    assert (error.status, error.code, error.jobs) == (500, "unknown", ())
    assert str(error) == "the answer is HTTP 500"


@pytest.mark.parametrize("jobs", [None, 5, "web", {"web": 1}, True])
def test_refusal_with_odd_jobs_names_none(jobs: object) -> None:
    body = json.dumps({"error": {"code": 7, "message": ["no"], "jobs": jobs}})

    error = AnswerError(400, body.encode())

    assert (error.code, str(error), error.jobs) == ("7", "['no']", ())


def test_refusal_says_what_the_supervisor_says() -> None:
    body = {
        "error": {
            "code": "no-such-job",
            "message": "there is no job 'x'",
            "jobs": ["x"],
            "mistakes": ["jobs.toml:1: x: unknown key"],
        }
    }

    error = AnswerError(404, json.dumps(body).encode())

    assert (error.code, str(error), error.jobs) == ("no-such-job", "there is no job 'x'", ("x",))
    assert error.mistakes == ("jobs.toml:1: x: unknown key",)


def test_request_is_what_http_wants() -> None:
    assert render_request("GET", "/v1/jobs", [("name", "wéb *"), ("n", "\udcff")]) == (
        b"GET /v1/jobs?name=w%C3%A9b%20%2A&n=%FF HTTP/1.1\r\n"
        b"Host: mocker\r\nConnection: close\r\n\r\n"
    )
    assert render_request("POST", "/v1/wait", body={}) == (
        b"POST /v1/wait HTTP/1.1\r\nHost: mocker\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"
    )


@given(st.lists(st.tuples(st.text(), st.text())))
def test_whatever_is_asked_for_stays_in_its_line(query: list[tuple[str, str]]) -> None:
    request = render_request("GET", "/", query)

    line, _, rest = request.partition(b"\r\n")
    assert line.isascii()
    assert line.split(b" ")[0::2] == [b"GET", b"HTTP/1.1"]
    assert rest == b"Host: mocker\r\nConnection: close\r\n\r\n"


def test_what_an_answer_lacks_is_named() -> None:
    with pytest.raises(ProtocolError, match=r"^it has no 'job'$"):
        get_value({}, "job")


@pytest.mark.parametrize("value", [None, 1, {}, [1], [{}, None]])
def test_what_is_no_list_of_objects_is_refused(value: object) -> None:
    with pytest.raises(ProtocolError, match=r"^its 'jobs' is no list of objects$"):
        list_objects({"jobs": value}, "jobs")
