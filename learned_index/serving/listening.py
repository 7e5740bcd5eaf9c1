"""Where connections come in: a socket for each worker, so that the kernel spreads them evenly."""

from __future__ import annotations

import asyncio
import select
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

from learned_index.errors import InputError

BACKLOG = 2048
_LOOK_S = 0.1
"""Between two looks at the connections of others; who waits longer is taken by whoever looks."""


@contextmanager
def listening(host: str, port: int, n_workers: int) -> Iterator[list[socket.socket]]:
    """Listen on an address, until the end of the block.

    Args:
        host: Address.
        port: Port; 0: any free one.
        n_workers: Sockets wanted.

    Returns:
        A socket for each worker, among which the kernel spreads the connections by their addresses
        (``SO_REUSEPORT``); a single one, which all must share, where the system cannot do that.

    Raises:
        InputError: The address cannot be listened on, or somebody listens there already.
    """
    with ExitStack() as stack:
        try:
            first = stack.enter_context(_bound(host, port))
            spreads = n_workers > 1 and _let_others_join(first)
            first.listen(BACKLOG)
        except (OSError, OverflowError) as error:
            raise InputError(
                f"cannot listen on {host} port {port} ({getattr(error, 'strerror', None) or error})"
                "; choose another --host or --port"
            ) from error
        listeners = [first]
        if spreads:
            with suppress(OSError):
                for _ in range(n_workers - 1):
                    another = _bound(host, first.getsockname()[1], joins=True)
                    stack.enter_context(another)
                    another.listen(BACKLOG)
                    listeners.append(another)
        for listener in listeners:
            listener.set_inheritable(True)
        yield listeners


def _bound(host: str, port: int, *, joins: bool = False) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    found = socket.socket(family, socket.SOCK_STREAM)
    try:
        if sys.platform != "win32":  # there it would let others take the port
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if joins:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        found.bind((host, port))
    except BaseException:
        found.close()
        raise
    return found


def _let_others_join(bound: socket.socket) -> bool:
    """Allow more sockets on the address of one; whether the kernel spreads connections over them.

    The first is bound before this is allowed: so a second server on the port is an error as ever,
    and does not quietly get half of the connections.
    """
    if not sys.platform.startswith("linux"):  # elsewhere the last one gets them all
        return False
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError:
        return False
    return True


async def take_left(
    listeners: Sequence[socket.socket], protocol: Callable[[], asyncio.Protocol]
) -> None:
    """Take connections that other workers leave waiting, until cancelled.

    The kernel gives a connection to one worker's socket, whether or not this worker is there: one
    that was killed, has not started yet or hangs would let its clients wait.

    Args:
        listeners: Sockets of the others.
        protocol: Makes what answers a connection.
    """
    loop = asyncio.get_running_loop()
    places = {listener.fileno(): listener for listener in listeners}
    waiting = select.poll()
    for place, listener in places.items():
        listener.setblocking(False)  # the one that it belongs to may not have come so far
        waiting.register(place, select.POLLIN)
    before: set[int] = set()
    while True:
        await asyncio.sleep(_LOOK_S)
        now = {place for place, _ in waiting.poll(0)}
        for place in now & before:
            with suppress(OSError):  # nobody is left there
                while True:
                    connection, _ = places[place].accept()
                    await _handed(loop, connection, protocol)
        before = now


async def _handed(loop: Any, connection: socket.socket, protocol: Any) -> None:
    connection.setblocking(False)
    try:
        await loop.connect_accepted_socket(protocol, connection)
    except BaseException:
        connection.close()
        raise
