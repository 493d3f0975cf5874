"""The few files of /etc that a program expects: who is who, and where names are looked up.

A fresh root gets all of them. Another root has its own users; there, the three files that tell of
the network are laid over its own, because the host's would be wrong.
"""

from .spec import ContainerSpec

ROOT_HOME = "/root"

_PASSWD = f"""\
root:x:0:0:root:{ROOT_HOME}:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
bin:x:2:2:bin:/bin:/bin/false
sys:x:3:3:sys:/dev:/bin/false
mail:x:8:8:mail:/var/mail:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
_GROUP = """\
root:x:0:
daemon:x:1:
bin:x:2:
sys:x:3:
adm:x:4:
tty:x:5:
disk:x:6:
mail:x:8:
users:x:100:
www-data:x:33:
nogroup:x:65534:
"""
_LOOPBACK_HOSTS = """\
127.0.0.1	localhost
::1	localhost ip6-localhost ip6-loopback
"""


def render_user_files() -> dict[str, str]:
    """Return passwd and group for a fresh root, by name."""
    return {"passwd": _PASSWD, "group": _GROUP}


def render_network_files(spec: ContainerSpec) -> dict[str, str]:
    """Return hosts, hostname and resolv.conf, by name.

    Without a network there is no name server to ask. With the host's network, resolv.conf and hosts
    have what the host's have when this is called.
    """
    resolver, hosts = "", _LOOPBACK_HOSTS
    if spec.network == "host":
        resolver, hosts = _read("/etc/resolv.conf"), _read("/etc/hosts") or hosts
        hosts = hosts if hosts.endswith("\n") else f"{hosts}\n"
    return {
        "hosts": f"{hosts}127.0.1.1\t{spec.hostname}\n",
        "hostname": f"{spec.hostname}\n",
        "resolv.conf": resolver,
    }


def _read(path: str) -> str:
    """Return what a file of the host has; nothing inside either, if the host has none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read()
    except OSError:
        return ""
