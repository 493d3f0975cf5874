"""Answers whose text may be anything."""

import json

import pytest

from mocker.supervisor.control.answers import Answer


@pytest.mark.parametrize("text", ["plain", "ö", "\U0001f4a9", "\ud800", "\0\n"])
def test_any_text_comes_through(text: str) -> None:
    answer = Answer({"text": text})

    assert json.loads(bytes(answer.body)) == {"text": text}
