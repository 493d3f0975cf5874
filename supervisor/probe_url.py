"""What the URL of a probe means: whom to connect to, and what to ask for.

Nothing is looked up: a name would have to be resolved outside the container, by a resolver that
waits. So the host is an address, or `localhost`, which is two of them.
"""

import ipaddress
from urllib.parse import urlsplit

import attrs

LOOPBACK = ("127.0.0.1", "::1")  # a server for this machine may have either
_HTTP_PORT = 80


@attrs.frozen
class HttpTarget:
    """Where a GET goes.

    Attributes:
        hosts: Addresses, of which the first that answers is taken.
        port: Of TCP.
        authority: For the header `Host`.
        path: With the query; begins with a slash.
    """

    hosts: tuple[str, ...]
    port: int
    authority: str
    path: str


def parse_url(text: str) -> HttpTarget:
    """Return what a URL means.

    Raises:
        ValueError: It has none of the forms that a probe can ask for; the text says what is wrong,
            and is empty if it is no URL at all.
    """
    if not text.isascii() or not text.isprintable() or " " in text:
        raise ValueError
    try:
        url = urlsplit(text)
        port = _HTTP_PORT if url.port is None else url.port
    except ValueError:
        raise ValueError from None
    if url.scheme == "https":
        raise ValueError("TLS is not spoken")
    if url.scheme != "http" or not url.hostname or port == 0:
        raise ValueError
    if "@" in url.netloc:
        raise ValueError("no user name is sent")
    path = (url.path or "/") + (f"?{url.query}" if url.query else "")
    return HttpTarget(_list_addresses(url.hostname), port, url.netloc, path)


def _list_addresses(host: str) -> tuple[str, ...]:
    if host == "localhost":
        return LOOPBACK
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        address = None
    if address is None or "%" in host:
        raise ValueError(f"no name is looked up, and {host!r} is neither an address nor localhost")
    return (str(address),)
