import pytest

from mocker.supervisor.client.top_view import View

COLUMNS, ROWS = 80, 10


def make_job(name: str, **fields: object) -> dict[str, object]:
    return {"name": name, "state": "RUNNING", "is_well": True, "restarts": 0, **fields}


JOBS = [
    make_job("web-10", cpu_percent=2.0, memory_bytes=1, restarts=7),
    make_job("web-2", cpu_percent=50.0, memory_bytes=2),
    make_job("db", cpu_percent=None, memory_bytes=3, is_well=False),
]


@pytest.fixture
def view() -> View:
    view = View("shop")
    view.show(JOBS)
    return view


def press(view: View, *keys: str) -> None:
    for key in keys:
        view.press(key)


def list_names(view: View, rows: int = ROWS) -> list[str]:
    """Return the names that are shown, in their order."""
    shown = [row.text.split() for row in view.render(COLUMNS, rows)]
    known = {str(job["name"]) for job in [*JOBS, *map(make_job, MANY)]}
    return [words[0] for words in shown if words and words[0] in known]


MANY = [f"job-{number}" for number in range(50)]


def read_foot(view: View) -> str:
    return view.render(COLUMNS, ROWS)[-1].text


def test_title_says_how_many_are_well(view: View) -> None:
    assert view.render(COLUMNS, ROWS)[0].text == "shop: 3 jobs, 2 well; by name"


def test_title_says_that_the_supervisor_does_not_answer(view: View) -> None:
    view.late_s = 5

    assert view.render(COLUMNS, ROWS)[0].text.endswith("; no answer for 5 s")


@pytest.mark.parametrize(
    ("key", "names"),
    [
        ("n", ["db", "web-2", "web-10"]),
        ("c", ["web-2", "web-10", "db"]),
        ("m", ["db", "web-2", "web-10"]),
        ("R", ["web-10", "web-2", "db"]),
    ],
)
def test_key_sorts(view: View, key: str, names: list[str]) -> None:
    press(view, key)

    assert list_names(view) == names


def test_filter_leaves_those_whose_names_contain_it(view: View) -> None:
    press(view, "/", *"WEBx", "backspace", "enter")

    assert list_names(view) == ["web-2", "web-10"]
    assert "filter: WEB" in view.render(COLUMNS, ROWS)[0].text


@pytest.mark.parametrize("keys", [["/", "w", "escape"], ["/", "w", "enter", "escape"]])
def test_escape_shows_all_again(view: View, keys: list[str]) -> None:
    press(view, *keys)

    assert len(list_names(view)) == 3


def test_keys_that_are_typed_for_a_filter_do_nothing_else(view: View) -> None:
    press(view, "/", "q", "x")

    assert (view.is_over, view.wish, list_names(view)) == (False, None, [])
    assert read_foot(view) == "filter: qx_"


@pytest.mark.parametrize(
    ("keys", "selected"),
    [
        ([], "db"),
        (["down"], "web-2"),
        (["j", "j", "j"], "web-10"),
        (["end", "up"], "web-2"),
        (["page down"], "web-10"),
        (["end", "home"], "db"),
        (["down", "k"], "db"),
    ],
)
def test_keys_select_a_job(view: View, keys: list[str], selected: str) -> None:
    press(view, *keys)

    (row,) = [row for row in view.render(COLUMNS, ROWS)[2:] if row.style == "reverse"]
    assert view.selected == selected
    assert row.text.split()[0] == selected


def test_selected_job_stays_so_wherever_it_moves(view: View) -> None:
    press(view, "c", "down")

    view.show([make_job("db", cpu_percent=90.0), *JOBS[:2]])

    assert list_names(view)[0] == "db"
    assert view.selected == "web-10"


def test_selected_job_is_on_the_screen_where_there_are_many(view: View) -> None:
    view.show([make_job(name) for name in MANY])

    press(view, "end")

    assert list_names(view)[-1] == "job-49"
    assert len(list_names(view)) == ROWS - 3


def test_screen_of_another_size_shows_the_selected_job(view: View) -> None:
    view.show([make_job(name) for name in MANY])
    press(view, *["page down"] * 3)
    list_names(view, 40)

    assert "job-30" in list_names(view, 6)


@pytest.mark.parametrize(("key", "action"), [("x", "stop"), ("r", "restart")])
def test_what_ends_a_run_is_to_be_confirmed(view: View, key: str, action: str) -> None:
    press(view, "down", key)
    asked, wish = read_foot(view), view.wish
    press(view, "y")

    assert (asked, wish) == (f"{action} web-2? y or n", None)
    assert view.wish == (action, "web-2")


def test_any_other_key_is_a_no(view: View) -> None:
    press(view, "x", "x")

    assert view.wish is None


def test_start_needs_no_confirmation(view: View) -> None:
    press(view, "s")

    assert view.wish == ("start", "db")


def test_job_that_was_asked_about_is_the_one_that_is_stopped(view: View) -> None:
    press(view, "c", "x")

    view.show([make_job("db", cpu_percent=90.0), *JOBS[:2]])
    press(view, "y")

    assert view.wish == ("stop", "web-2")


def test_last_lines_of_the_selected_job_are_shown_below(view: View) -> None:
    press(view, "l")
    view.log = ["one", "tw\x1b[2Jo"]

    texts = [row.text.rstrip() for row in view.render(COLUMNS, 12)]

    assert len(texts) == 12
    title = next(index for index, text in enumerate(texts) if text.startswith("-- db: last lines"))
    assert texts[title + 1 : title + 3] == ["one", r"tw\x1b[2Jo"]


def test_lines_of_another_job_are_not_shown_as_this_one_s(view: View) -> None:
    press(view, "l")
    view.log = ["one"]

    press(view, "down")

    assert view.log == []


def test_second_press_shows_no_lines_any_more(view: View) -> None:
    press(view, "l", "l")

    assert view.log is None


@pytest.mark.parametrize("key", ["q", "ctrl-c"])
def test_key_ends_it(view: View, key: str) -> None:
    press(view, key)

    assert view.is_over


def test_supervisor_without_jobs_has_nothing_to_select() -> None:
    view = View("shop")

    press(view, "down", "x", "y", "s", "l")

    assert (view.selected, view.wish) == ("", None)
    assert view.render(COLUMNS, ROWS)


@pytest.mark.parametrize("columns", [1, 20, 200])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 24])
@pytest.mark.parametrize("keys", [[], ["l"], ["x"], ["/", "w"]])
def test_any_size_is_filled_and_not_passed(
    view: View, columns: int, rows: int, keys: list[str]
) -> None:
    press(view, *keys)

    shown = view.render(columns, rows)

    assert len(shown) <= rows
    assert all(len(row.text) <= columns for row in shown)
