from mocker.supervisor.errors import ConfigError


def test_mistakes_are_told_a_line_each() -> None:
    error = ConfigError(iter(["a.toml:1: one", "a.toml:2: two"]))

    assert error.mistakes == ("a.toml:1: one", "a.toml:2: two")
    assert str(error) == "a.toml:1: one\na.toml:2: two"


def test_wrong_file_is_wrong_usage() -> None:
    assert ConfigError.exit_code == 2
