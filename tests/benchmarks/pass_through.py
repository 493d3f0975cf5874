"""What it costs a command to have its input and its output through `mocker run`.

    python -m tests.benchmarks.pass_through [--bytes N] [--rounds N] [--json FILE]

Run it in the root of the repository with the interpreter that mocker is installed for, as root or
as an ordinary user. It is compared how long

    cat </dev/zero | head -c N >/dev/null

takes with and without `mocker run` before cat, from the start of both programs to the end of both.
Without a terminal the command has the caller's own descriptors, so all that may be left is the time
that a container takes to start: nothing is subtracted for that.

`mocker run cat` executes busybox's where there is one, which is another program; with
`--rootfs host` it is the same. The contestants take turns, in an order that is shuffled for each
round, so that whatever else the machine does hits all of them alike.
"""

import argparse
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path

from .start_latency import (
    ENVIRONMENT,
    WARM_UP,
    Measure,
    ObstacleError,
    Results,
    find,
    find_beside_python,
    render_ratio,
    since,
    take_turns,
)

CAT = "cat"
MOCKER = "mocker run cat"
MOCKER_HOST = "mocker run --rootfs host cat"
NAMES = (CAT, MOCKER, MOCKER_HOST)

# Who is compared with whom, and how many times as long it may take.
RATIOS = ((MOCKER, CAT, 1.1), (MOCKER_HOST, CAT, 1.1))

MEGABYTE = 10**6  # bytes
# That nobody reads on ended it, as seen from outside and in mocker's own exit status.
_ENDED_BY_PIPE = (-signal.SIGPIPE, 128 + signal.SIGPIPE)


def main() -> None:
    """Measure and print."""
    options = parse_options()
    results = Results()
    contestants = {
        CAT: lambda: time_pipeline(options.bytes, find("cat", "coreutils")),
        MOCKER: lambda: time_pipeline(options.bytes, find_beside_python("mocker"), "run", "cat"),
        MOCKER_HOST: lambda: time_pipeline(
            options.bytes, find_beside_python("mocker"), "run", "--rootfs", "host", "cat"
        ),
    }
    take_turns(contestants, results, warm_up=WARM_UP, count=options.rounds)
    sys.stdout.write(render_table(results, options.bytes))
    if options.json:
        options.json.write_text(json.dumps(render_json(results, options.bytes), indent=1))


def parse_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure what passes through mocker run.")
    add = parser.add_argument
    add("--bytes", type=int, default=2**31, help="of each run (default: %(default)s)")
    add("--rounds", type=int, default=5, help="of all (default: %(default)s)")
    add("--json", type=Path, metavar="FILE", help="write all that was measured to FILE")
    return parser.parse_args()


def time_pipeline(count: int, *argv: str) -> Measure:
    """Return how to time a program that copies /dev/zero for as long as head(1) reads."""
    head = find("head", "coreutils")

    def run() -> float:
        with Path("/dev/zero").open("rb") as zero:
            begin = time.perf_counter()
            with (
                # A container has a session of its own, and processor time is shared by sessions.
                subprocess.Popen(
                    argv,
                    stdin=zero,
                    stdout=subprocess.PIPE,
                    env=ENVIRONMENT,
                    start_new_session=True,
                ) as writer,
                subprocess.Popen(
                    [head, "-c", str(count)], stdin=writer.stdout, stdout=subprocess.DEVNULL
                ) as reader,
            ):
                assert writer.stdout is not None
                writer.stdout.close()  # so that nobody but head has it open
                statuses = reader.wait(), writer.wait()
            milliseconds = since(begin)
        if statuses[0] or statuses[1] not in _ENDED_BY_PIPE:
            raise ObstacleError(f"{' '.join(argv)} ended with {statuses[1]} before head did")
        return milliseconds

    return run


def megabytes_per_second(results: Results, name: str, count: int) -> float | None:
    milliseconds = results.median(name)
    return count / MEGABYTE / milliseconds * 1000 if milliseconds else None


def render_table(results: Results, count: int) -> str:
    who = "root" if os.geteuid() == 0 else f"user {os.geteuid()}"
    system = f"Linux {platform.release()}, {os.cpu_count()} processors"
    lines = [
        f"Python {platform.python_version()}, {system}, as {who}",
        "",
        f"{f'{count / MEGABYTE:.0f} MB':40}{'MB/s':>10}{'ms':>10}{'runs':>8}",
    ]
    for name in NAMES:
        speed, milliseconds = megabytes_per_second(results, name, count), results.median(name)
        if speed is None or milliseconds is None:
            lines.append(f"{name:40}{results.obstacles[name]}")
        else:
            runs = len(results.times[name])
            lines.append(f"{name:40}{speed:10.0f}{milliseconds:10.0f}{runs:8}")
    lines += ["", f"{'time':56}{'is':>8}{'at most':>10}"]
    lines += [
        render_ratio(f"{name} / {other}", results.ratio(name, other), limit)
        for name, other, limit in RATIOS
    ]
    return "\n".join(lines) + "\n"


def render_json(results: Results, count: int) -> dict[str, object]:
    return {
        "bytes": count,
        "milliseconds": results.times,
        "megabytes_per_s": {
            name: megabytes_per_second(results, name, count) for name in results.times
        },
        "ratios": [
            {"of": name, "to": other, "is": results.ratio(name, other), "at_most": limit}
            for name, other, limit in RATIOS
        ],
        "not_measured": results.obstacles,
    }


if __name__ == "__main__":
    main()
