import pytest

from mocker.supervisor.client.amounts import render_percent, render_size


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0"),
        (1023, "1023"),
        (1024, "1.0K"),
        (3 * 2**20 + 2**19, "3.5M"),
        (2**30, "1.0G"),
        (2**40, "1.0T"),
        (2**50, "1024.0T"),
        (None, "-"),
    ],
)
def test_size_is_written_with_a_unit(size: int | None, text: str) -> None:
    assert render_size(size) == text


@pytest.mark.parametrize(("percent", "text"), [(0, "0.0%"), (12.34, "12.3%"), (None, "-")])
def test_share_is_written_in_percent(percent: float | None, text: str) -> None:
    assert render_percent(percent) == text
