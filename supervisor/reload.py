"""What a new file changes: which jobs come, which go, and which must be run anew."""

from collections.abc import Callable, Mapping

import attrs
import structlog
import trio

from .config import JobConfig, SupervisorConfig
from .errors import ConfigError
from .threads import run_in_thread

log = structlog.get_logger("mocker.supervisor")

_LOAD_S = 30.0  # for a file of many thousand jobs on a slow machine

# What a key of the file is called that is called otherwise here.
_KEYS = {"kind": "type", "group": "replicas", "argv": "command", "rlimits": "ulimits"}


@attrs.frozen(kw_only=True)
class Difference:
    """The difference between two files, as names of jobs, each in the order of its file.

    Attributes:
        added: Only in the new one.
        removed: Only in the old one.
        changed: In both, and not the same: with the keys that differ.
        unchanged: In both; nothing happens to these.
        needs_restart: Keys of the supervisor that changed, and stay as they were until it does.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: Mapping[str, tuple[str, ...]]
    unchanged: tuple[str, ...]
    needs_restart: tuple[str, ...]


def compare(old: SupervisorConfig, new: SupervisorConfig) -> Difference:
    """Return what has changed."""
    common = [name for name in new.jobs if name in old.jobs]
    changed = {
        name: list_changed_keys(old.jobs[name], new.jobs[name])
        for name in common
        if new.jobs[name] != old.jobs[name]
    }
    return Difference(
        added=tuple(name for name in new.jobs if name not in old.jobs),
        removed=tuple(name for name in old.jobs if name not in new.jobs),
        changed=changed,
        unchanged=tuple(name for name in common if name not in changed),
        needs_restart=tuple(
            key
            for key in ("name", "log_format", "log_level", "journald_socket", "control")
            if getattr(old, key) != getattr(new, key)
        ),
    )


def list_changed_keys(old: JobConfig, new: JobConfig) -> tuple[str, ...]:
    """Return the keys of a job that mean something else, as the file has them, in order."""
    before, after = _list_values(old), _list_values(new)
    return tuple(key for key in sorted({*before, *after}) if before.get(key) != after.get(key))


def render_difference(difference: Difference) -> dict[str, object]:
    """Return it as facts of an event: what did not change as a number, nothing as nothing."""
    facts = {
        key: list(names)
        for key, names in attrs.asdict(difference).items()
        if names and key != "unchanged"
    }
    return {**facts, "unchanged": len(difference.unchanged)}


async def load_in_time(
    load: Callable[[], SupervisorConfig], path: str, limiter: trio.CapacityLimiter
) -> SupervisorConfig:
    """Return what a file says by now.

    Args:
        load: Reads it, in a thread, as its disk may not answer.
        path: Its path.
        limiter: Of such threads.

    Raises:
        ConfigError, OSError: It has mistakes, or cannot be read, or not in time.
    """
    with trio.move_on_after(_LOAD_S):
        return await run_in_thread(load, limiter=limiter)
    hint = f"its disk, or that of a file it names, has not answered for {_LOAD_S:g} s"
    raise ConfigError([f"{path}: cannot read it: {hint}"])


def tell_rejected(path: str, error: ConfigError | OSError) -> None:
    """Tell why a new file is not followed."""
    mistakes = error.mistakes if isinstance(error, ConfigError) else [str(error)]
    log.error("config.rejected", path=path, mistakes=list(mistakes))


def _list_values(job: JobConfig) -> dict[str, object]:
    fields = attrs.asdict(job, recurse=False)
    fields |= attrs.asdict(fields.pop("container"), recurse=False) | fields.pop("channels")
    return {_KEYS.get(field, field): value for field, value in fields.items()}
