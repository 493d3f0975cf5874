"""What a new file changes: which jobs come, which go, and which must be run anew."""

import attrs

from .config import SupervisorConfig


@attrs.frozen(kw_only=True)
class Changes:
    """The difference between two files, as names of jobs, each in the order of its file.

    Attributes:
        added: Only in the new one.
        removed: Only in the old one.
        changed: In both, and not the same.
        unchanged: In both; nothing happens to these.
        needs_restart: Keys of the supervisor that changed, and stay as they were until it does.
    """

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]
    unchanged: tuple[str, ...]
    needs_restart: tuple[str, ...]


def compare(old: SupervisorConfig, new: SupervisorConfig) -> Changes:
    """Return what has changed."""
    common = [name for name in new.jobs if name in old.jobs]
    return Changes(
        added=tuple(name for name in new.jobs if name not in old.jobs),
        removed=tuple(name for name in old.jobs if name not in new.jobs),
        changed=tuple(name for name in common if new.jobs[name] != old.jobs[name]),
        unchanged=tuple(name for name in common if new.jobs[name] == old.jobs[name]),
        needs_restart=tuple(
            key
            for key in ("name", "log_format", "log_level", "journald_socket")
            if getattr(old, key) != getattr(new, key)
        ),
    )
