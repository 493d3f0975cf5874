import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.quantities import parse_duration, parse_size

TEN_YEARS = 10 * 365 * 86400


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("10", 10),
        ("10s", 10),
        ("500ms", 0.5),
        ("2m", 120),
        ("1.5h", 5400),
        ("1d", 86400),
        (".5s", 0.5),
        ("1.", 1),
        ("3650d", TEN_YEARS),
        ("007s", 7),
    ],
)
def test_duration_is_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "s",
        "ten",
        "-1s",
        "+1s",
        "1 s",
        " 1s",
        "1s ",
        "1S",
        "1w",
        "1ss",
        "1s1",
        "1m30s",
        "1e3",
        "0x10",
        "1_000",
        "1,5s",
        "1.5.2s",
        ".",
        ".s",
        "inf",
        "nan",
        "٣s",
        "²s",
        "1\n",
    ],
)
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a duration such as '500ms', '10s' or '2m', not"):
        parse_duration(text)


@pytest.mark.parametrize("text", ["3651d", "315360001s", "9" * 400, "9" * 5000 + "ms"])
def test_nobody_waits_longer_than_ten_years(text: str) -> None:
    with pytest.raises(ValueError, match="must be at most ten years"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("0", 0),
        ("512", 512),
        ("512b", 512),
        ("64k", 65536),
        ("64K", 65536),
        ("64kb", 65536),
        ("64KiB", 65536),
        ("1.5k", 1536),
        (".5k", 512),
        ("1m", 2**20),
        ("1M", 2**20),
        ("1MB", 2**20),
        ("2g", 2**31),
        ("1T", 2**40),
        ("1tib", 2**40),
    ],
)
def test_size_is_a_number_and_a_power_of_1024(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    [
        "",
        "k",
        "-1k",
        "+1k",
        "1 k",
        "1e3",
        "0x10",
        "1_000",
        "64kk",
        "64bb",
        "64ib",
        "64i",
        "64ki",
        "64mk",
        "64p",
        "k64",
        "٣k",
        "1\n",
    ],
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match=r"must be a size such as '64k', '64M' or '1G', not"):
        parse_size(text)


def test_size_that_no_memory_has_is_refused() -> None:
    with pytest.raises(ValueError, match="must be a size"):
        parse_size("9" * 5000)


@given(text=st.text(st.sampled_from("0123456789.smhdkgtib -+e")) | st.text())
def test_any_text_is_a_quantity_or_a_value_error(text: str) -> None:
    for parse in (parse_duration, parse_size):
        try:
            answer = str(parse(text))
        except ValueError as error:
            answer = str(error)
        assert answer.startswith("must be ") or float(answer) >= 0


@given(milliseconds=st.integers(0, 10**9))
def test_duration_in_milliseconds_is_exact(milliseconds: int) -> None:
    assert parse_duration(f"{milliseconds}ms") == pytest.approx(milliseconds / 1000)


@given(size=st.integers(0, 2**40))
def test_size_in_bytes_is_exact(size: int) -> None:
    assert parse_size(str(size)) == size
    assert parse_size(f"{size}k") == size * 1024
