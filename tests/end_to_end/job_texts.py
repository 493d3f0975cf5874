"""Jobs for the files of tests: entries, and shell code."""

# Shell code. A process that is done at SIGTERM, as most are, and one that only SIGKILL ends: it
# ignores every signal that can be ignored, and so does what it starts.
SLEEP = "sleep 1000"
STUBBORN = 'for n in $(seq 64); do trap "" $n; done; echo ready; while :; do sleep 1; done'
# One that listens, as a shell does only between two commands: a signal that comes right before it
# waits is heard after the wait, which therefore is a short one.
LISTEN = "mkfifo /tmp/go; echo ready; while :; do read -t 0.2 -r _ <>/tmp/go; done"


def job(name: str, script: str, keys: str = "") -> str:
    """Return the entry of a job that is a shell script; the keys are TOML."""
    text = script.replace("$", "$$")  # mocker's own variables
    return f"[jobs.{name}]\ncommand = ['sh', '-c', '''{text}''']\n{keys}\n"


def names(events: list[dict[str, object]]) -> list[object]:
    return [event.get("job") for event in events]
