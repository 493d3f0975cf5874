r"""A table as TOML, for a file of jobs.

Its variables are escaped: `${` and `$$` would be understood by who reads the file.
"""

import json
import re
from collections.abc import Mapping, Sequence

_WIDTH = 100  # columns, beyond which a table inside is one of its own
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_DOLLAR = re.compile(r"\$(?=[${])")


def render_tables(key: Sequence[str], values: Mapping[str, object]) -> str:
    """Return a table, and after it those of its tables that are long.

    Args:
        key: The name of the table, part by part.
        values: What it has: texts, numbers, booleans, lists and tables of them.
    """
    lines = [f"[{'.'.join(map(_render_key, key))}]\n"]
    tables = []
    for name, value in values.items():
        line = f"{_render_key(name)} = {_render_value(value)}\n"
        if isinstance(value, dict) and len(line) > _WIDTH:
            tables.append(render_tables((*key, name), value))
        else:
            lines.append(line)
    return "\n".join(["".join(lines), *tables])


def _render_value(value: object) -> str:
    match value:
        case dict():
            items = [f"{_render_key(key)} = {_render_value(one)}" for key, one in value.items()]
            return f"{{ {', '.join(items)} }}" if items else "{}"
        case list():
            return f"[{', '.join(map(_render_value, value))}]"
        case str():
            return _render_text(_DOLLAR.sub("$$", value))
        case _:
            return json.dumps(value)


def _render_key(key: str) -> str:
    return key if _BARE.fullmatch(key) else _render_text(key)


def _render_text(text: str) -> str:
    # JSON's escapes are TOML's, but that TOML wants one for DEL.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
