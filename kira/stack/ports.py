"""Ports: who has one, and which are free."""

import socket

import psutil

from kira.stack.config import DEFAULT_PORTS, HOST


def is_free(port: int) -> bool:
    """Whether a server could listen on 127.0.0.1."""
    with socket.socket() as probe:
        # As servers do: a port that merely waits for its last packets is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


def user_of(port: int) -> str:
    """Name the process that listens on a port, as well as this user may know it."""
    try:
        for connection in psutil.net_connections("tcp"):
            if (
                connection.status == psutil.CONN_LISTEN
                and connection.laddr
                and connection.laddr.port == port
                and connection.pid
            ):
                process = psutil.Process(connection.pid)
                return f"{process.name()} (process {connection.pid}: {' '.join(process.cmdline())[:120]})"
    except psutil.Error:
        pass
    return "a process that this user may not see"


def free_ports() -> dict[str, int]:
    """A free port for every part of the stack; for tests, which must not meet each other or a running stack."""
    sockets = {name: socket.socket() for name in DEFAULT_PORTS}
    try:
        for sock in sockets.values():
            sock.bind((HOST, 0))
        return {name: int(sock.getsockname()[1]) for name, sock in sockets.items()}
    finally:
        for sock in sockets.values():
            sock.close()
