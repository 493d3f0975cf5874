"""What holds for all tests of those who ask."""

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def _own_runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Find no supervisor but those of the test."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("MOCKER_SOCKET", raising=False)
