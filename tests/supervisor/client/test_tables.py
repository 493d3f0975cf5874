import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mocker.supervisor.client.tables import (
    render_duration,
    render_last_exit,
    render_state,
    render_table,
)


def test_columns_are_as_wide_as_their_widest_cell() -> None:
    rows = [["web", "RUNNING", "-"], ["a-longer-name", "-", "x"]]

    assert render_table(["NAME", "STATE", ""], rows) == (
        "NAME           STATE\n"
        "web            RUNNING  -\n"
        "a-longer-name  -        x\n"
    )  # fmt: skip


def test_without_rows_there_is_the_head_alone() -> None:
    assert render_table(["NAME", "STATE"], []) == "NAME  STATE\n"


@given(st.lists(st.lists(st.text(), min_size=2, max_size=2)))
def test_row_is_a_line_that_means_nothing_to_a_terminal(rows: list[list[str]]) -> None:
    lines = render_table(["A", "B"], rows).removesuffix("\n").split("\n")

    assert len(lines) == 1 + len(rows)
    assert all(line.isprintable() for line in lines)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "-"),
        (0, "0s"),
        (59.9, "59s"),
        (60, "1m"),
        (192, "3m12s"),
        (3600, "1h"),
        (3659, "1h"),
        (7500, "2h5m"),
        (86400 * 6 + 3600 * 3, "6d3h"),
        (86400 * 400, "400d"),
        (-1, "-"),
        (math.nan, "-"),
        (math.inf, "-"),
    ],
)
def test_duration_has_two_units(seconds: float | None, text: str) -> None:
    assert render_duration(seconds) == text


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ({"state": "RUNNING", "paused": False}, "RUNNING"),
        ({"state": "RUNNING", "paused": True}, "RUNNING (paused)"),
        ({"state": "STOPPED"}, "STOPPED"),
        ({"state": "EXITED", "is_well": True, "last_exit": "exit code 0"}, "EXITED"),
        ({"state": "EXITED", "is_well": False, "last_exit": "exit code 7"}, "EXITED (7)"),
        ({"state": "EXITED", "is_well": False, "last_exit": "SIGKILL"}, "EXITED (SIGKILL)"),
        ({"state": "EXITED", "is_well": False, "last_exit": None}, "EXITED"),
        ({}, "-"),
    ],
)
def test_state_says_whether_it_is_paused_and_how_it_ended_if_badly(
    job: dict[str, object], text: str
) -> None:
    assert render_state(job) == text


@pytest.mark.parametrize(
    ("job", "text"),
    [
        ({"last_exit": "SIGKILL", "oom_killed": True}, "SIGKILL (OOMKilled)"),
        ({"last_exit": "SIGKILL", "oom_killed": False}, "SIGKILL"),
        ({"last_exit": None}, "-"),
        ({}, "-"),
    ],
)
def test_end_says_whether_it_was_for_lack_of_memory(job: dict[str, object], text: str) -> None:
    assert render_last_exit(job) == text
