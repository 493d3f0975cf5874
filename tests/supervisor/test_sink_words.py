import pytest

from mocker.supervisor.config import SinkConfig
from mocker.supervisor.sink_words import JOURNALD_SOCKET, SinkWord, check_together, parse_sink

FIELDS = ("kind", "path", "format", "max_size", "backups", "compress")


def fields_of(sink: SinkWord | SinkConfig) -> dict[str, object]:
    return {name: getattr(sink, name) for name in FIELDS}


@pytest.mark.parametrize(
    ("word", "kind", "path"),
    [
        ("console", "console", ""),
        ("null", "null", ""),
        ("inherit", "inherit", ""),
        ("journald", "journald", JOURNALD_SOCKET),
        ("journald,socket=/run/other", "journald", "/run/other"),
        ("file:web.log", "file", "web.log"),
        ("file:/var/log/a:b=c", "file", "/var/log/a:b=c"),
    ],
)
def test_sink_is_a_kind_and_where_it_is(word: str, kind: str, path: str) -> None:
    sink = parse_sink(word)

    assert (sink.kind, sink.path) == (kind, path)


def test_file_has_what_it_has_in_a_file_of_jobs_unless_something_else_is_said() -> None:
    assert fields_of(parse_sink("file:a")) == fields_of(SinkConfig(kind="file", path="a"))


@pytest.mark.parametrize(
    ("option", "field", "value"),
    [
        ("format=raw", "format", "raw"),
        ("format=text", "format", "text"),
        ("format=json", "format", "json"),
        ("max_size=10M", "max_size", 10 * 2**20),
        ("max-size=10m", "max_size", 10 * 2**20),
        ("max_size=0", "max_size", 0),
        ("backups=0", "backups", 0),
        ("backups=1000", "backups", 1000),
        ("compress", "compress", True),
        ("compress=true", "compress", True),
        ("compress=false", "compress", False),
    ],
)
def test_option_of_a_file_sets_one_field(option: str, field: str, value: object) -> None:
    expected = fields_of(parse_sink("file:a")) | {field: value}

    assert fields_of(parse_sink(f"file:a,{option}")) == expected


def test_file_has_several_options_and_the_last_one_counts() -> None:
    sink = parse_sink("file:a,compress,format=text,format=json")

    assert (sink.format, sink.compress) == ("json", True)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("", "must be console, journald, null, inherit or file:PATH, not ''"),
        ("file", "must be console"),
        ("file:", "must be console"),
        ("file=a", "must be console"),
        ("none", "must be console"),
        ("console:", "must be console"),
        ("console,format=json", "must be console"),
        ("journald:", "must be console"),
        ("null,", "must be console"),
        ("journald,socket=", "journald takes socket=PATH, not 'socket='"),
        ("journald,tag=a", "journald takes socket=PATH, not 'tag=a'"),
        ("file:a,", "file:… takes format=…, max_size=…, backups=… and compress, not ''"),
        ("file:a,b", "file:… takes"),
        ("file:a,compress=yes", "file:… takes"),
        ("file:a,format=xml", "format must be raw, text or json, not 'xml'"),
        ("file:a,format", "format must be raw, text or json, not ''"),
        ("file:a,max_size=lots", "max_size must be a size such as"),
        ("file:a,max_size=9999999t", "max_size must be at most"),
        ("file:a,backups=-1", "backups must be 0 to 1000, not '-1'"),
        ("file:a,backups=1001", "backups must be 0 to 1000"),
        (f"file:a,backups={'9' * 5000}", "backups must be 0 to 1000"),
    ],
)
def test_sink_that_cannot_be_meant_is_refused(word: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"\A") as info:
        parse_sink(word)

    assert str(info.value).startswith(message)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["null", "console"], "must have null alone"),
        (["file:a", "inherit"], "must have inherit alone"),
        (["null", "null"], "must have null alone"),
        (["file:a", "console", "file:a,compress"], "must not have a twice"),
        (["journald", "journald,socket=/a"], "must not have journald twice"),
    ],
)
def test_sinks_that_do_not_go_together_are_refused(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        check_together(list(map(parse_sink, words)))


@pytest.mark.parametrize(
    "words",
    [[], ["null"], ["console", "journald", "file:a", "file:b"]],
)
def test_others_go_together(words: list[str]) -> None:
    check_together(list(map(parse_sink, words)))
