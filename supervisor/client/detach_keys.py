"""The keys that leave a job alone, among all that is typed at its terminal."""

from mocker.isolation import SpecError

DEFAULT = "ctrl-p,ctrl-q"
_CTRL = "ctrl-"
_CONTROLLED = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # in the order of their codes


class DetachKeys:
    """What is typed, of which these keys are held back.

    Attributes:
        pressed: Whether they were, one after another; what comes later counts for nothing.
    """

    def __init__(self, text: str) -> None:
        """Read what they are, as docker has them.

        Args:
            text: Single letters, and "ctrl-" with one, with commas between them.

        Raises:
            SpecError: It is something else.
        """
        self._keys = b"".join(map(_parse_key, text.split(",")))
        self._held = b""
        self.pressed = False

    def feed(self, typed: bytes) -> bytes:
        """Take what is typed, and return what of it is for the job."""
        passed = bytearray()
        for code in typed:
            self._held += bytes((code,))
            while not self._keys.startswith(self._held):
                passed.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self._keys:
                self.pressed = True
                break
        return bytes(passed)


def _parse_key(key: str) -> bytes:
    letter = key.removeprefix(_CTRL)
    if key != letter and len(letter) == 1 and letter.lower() in _CONTROLLED:
        return bytes((_CONTROLLED.index(letter.lower()),))
    if len(key) == 1 and key.isascii() and key.isprintable():
        return key.encode()
    text = f"detach keys must be letters, or such as {DEFAULT!r}, not {key!r}"
    raise SpecError(text)
