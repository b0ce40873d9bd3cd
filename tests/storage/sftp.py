"""A real SFTP server on the loopback interface that serves a folder."""

import os
import socket
import threading
from contextlib import contextmanager

import pytest

paramiko = pytest.importorskip("paramiko", reason="paramiko is not installed")


class _Login(paramiko.ServerInterface):
    def __init__(self, key):
        self.key = key

    def get_allowed_auths(self, username):
        return "publickey"

    def check_auth_publickey(self, username, key):
        return paramiko.AUTH_SUCCESSFUL if (username, key) == ("me", self.key) else paramiko.AUTH_FAILED

    def check_channel_request(self, kind, number):
        return paramiko.OPEN_SUCCEEDED


def _answer(call):
    """Return an error of the system as the status that the protocol has for it."""

    def answer(self, *given):
        try:
            return call(self, *given)
        except OSError as error:
            return paramiko.SFTPServer.convert_errno(error.errno)

    return answer


class _Folder(paramiko.SFTPServerInterface):
    def __init__(self, server, root):
        self.root = root

    def _at(self, path):
        return os.path.join(self.root, path.lstrip("/"))  # noqa: PTH118

    @_answer
    def list_folder(self, path):
        names = os.listdir(self._at(path))  # noqa: PTH208
        return [paramiko.SFTPAttributes.from_stat(os.stat(self._at(f"{path}/{name}")), name) for name in names]  # noqa: PTH116

    @_answer
    def stat(self, path):
        return paramiko.SFTPAttributes.from_stat(os.stat(self._at(path)))  # noqa: PTH116

    lstat = stat

    @_answer
    def open(self, path, flags, attributes):
        opened = os.open(self._at(path), flags, 0o644)
        handle = paramiko.SFTPHandle(flags)
        handle.readfile = handle.writefile = os.fdopen(opened, "r+b" if flags & (os.O_WRONLY | os.O_RDWR) else "rb")
        return handle

    @_answer
    def remove(self, path):
        os.remove(self._at(path))  # noqa: PTH107
        return paramiko.SFTP_OK

    @_answer
    def posix_rename(self, old, new):
        os.replace(self._at(old), self._at(new))  # noqa: PTH105
        return paramiko.SFTP_OK

    @_answer
    def mkdir(self, path, attributes):
        os.mkdir(self._at(path))  # noqa: PTH102
        return paramiko.SFTP_OK


@contextmanager
def serve(root, host_key, user_key):
    """Serve the folder `root` to the user `me`, who has `user_key`. Yields the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        transports = []

        def accept():
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:  # closed
                    return
                transport = paramiko.Transport(connection)
                transport.add_server_key(host_key)
                transport.set_subsystem_handler("sftp", paramiko.SFTPServer, _Folder, str(root))
                transports.append(transport)
                transport.start_server(threading.Event(), _Login(user_key))

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1]
        for transport in transports:
            transport.close()
