"""The description of all resources, in the words of OpenAPI 3.1."""

import json
import os
from importlib.metadata import version
from typing import Any

_FILE = os.path.join(os.path.dirname(__file__), "openapi.json")


def read_description() -> dict[str, Any]:
    """Return the description."""
    with open(_FILE, encoding="utf-8") as file:
        description: dict[str, Any] = json.load(file)
    description["info"]["version"] = version("mocker-supervise")
    return description
