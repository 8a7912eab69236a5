"""TCP ports on the loopback address."""

import socket
from random import SystemRandom

LOOPBACK = "127.0.0.1"

PORT_RANGE = range(15_000, 32_768)
"""Below the kernel's ephemeral ports: a server that a test kills and restarts finds its port free,
and not taken by an outgoing connection."""


def is_free(port: int) -> bool:
    """Whether a server could listen on the port now."""
    with socket.socket() as listener:
        # As servers do: a port in TIME_WAIT, left by a stack just stopped, is free.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError:
            return False
    return True


def is_listening(port: int) -> bool:
    """Whether a server takes connections on the port now."""
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False


_candidates: list[int] = []


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, and that this process has not been given before."""
    ports: list[int] = []
    while len(ports) < count:
        if not _candidates:
            _candidates.extend(SystemRandom().sample(PORT_RANGE, len(PORT_RANGE)))
        port = _candidates.pop()
        if is_free(port):
            ports.append(port)
    return ports
