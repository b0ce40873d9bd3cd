"""SFTP connects only to hosts that `ssh` knows, as `ssh` itself does."""

from functools import cache
from pathlib import Path
from typing import Any

FILES = (Path("~/.ssh/known_hosts"), Path("/etc/ssh/ssh_known_hosts"))


@cache
def known_hosts_policy() -> type:
    """Return the policy for paramiko: refuse a host whose key is not in `known_hosts`. fsspec accepts any by default.

    Raises `ImportError` without paramiko. The class is always the same one, by which fsspec finds an open connection.
    """
    import paramiko  # type: ignore[import-untyped]

    class KnownHosts(paramiko.MissingHostKeyPolicy):  # type: ignore[misc]  # paramiko has no types
        def missing_host_key(self, client: Any, hostname: str, key: Any) -> None:
            for file in (path.expanduser() for path in FILES):
                if file.is_file() and paramiko.HostKeys(str(file)).check(hostname, key):
                    return
            name = hostname.lstrip("[").partition("]")[0]
            raise paramiko.SSHException(f"the key of {name} is not in known_hosts: connect with `ssh` once")

    return KnownHosts
