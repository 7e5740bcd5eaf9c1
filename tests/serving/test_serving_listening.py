"""Sockets that connections come in at."""

from __future__ import annotations

import asyncio
import socket
import sys
from contextlib import suppress

import pytest

from learned_index.errors import InputError
from learned_index.serving.listening import listening, take_left

on_linux = pytest.mark.skipif(
    sys.platform != "linux", reason="only Linux spreads connections over sockets"
)


@pytest.mark.parametrize("n_workers", [1, 3])
def test_a_port_has_one_server(n_workers):
    with listening("127.0.0.1", 0, n_workers) as listeners:
        addresses = {listener.getsockname() for listener in listeners}
        assert len(addresses) == 1
        port = listeners[0].getsockname()[1]
        for others in (1, 2):
            with (
                pytest.raises(InputError, match=f"port {port}.*in use"),
                listening("127.0.0.1", port, others),
            ):
                pass
    with listening("127.0.0.1", port, n_workers):  # free again at once
        pass
    assert all(listener.fileno() < 0 for listener in listeners)


@on_linux
def test_connections_are_spread_over_the_sockets():
    with listening("127.0.0.1", 0, 3) as listeners:
        clients = [socket.create_connection(listeners[0].getsockname()) for _ in range(90)]
        counts = []
        for listener in listeners:
            listener.setblocking(False)
            taken = 0
            with suppress(BlockingIOError):
                while True:
                    listener.accept()[0].close()
                    taken += 1
            counts.append(taken)
        for client in clients:
            client.close()
    assert sum(counts) == 90
    assert min(counts) >= 8  # 30 on average; less comes once in a million times


def test_a_system_that_spreads_nothing_has_one_socket_for_all(monkeypatch):
    monkeypatch.setattr(sys, "platform", "darwin")
    with listening("127.0.0.1", 0, 3) as listeners:
        assert len(listeners) == 1


@on_linux
def test_connections_that_a_worker_leaves_are_taken():
    class Echo(asyncio.Protocol):
        def connection_made(self, transport):
            self.transport = transport

        def data_received(self, data):
            self.transport.write(data)

    async def main(listeners):
        taking = asyncio.create_task(take_left(listeners, Echo))
        address = listeners[0].getsockname()[:2]
        opened = [await asyncio.open_connection(*address) for _ in range(20)]
        for reader, writer in opened:
            writer.write(b"who is there?")
            assert await asyncio.wait_for(reader.read(100), 30) == b"who is there?"
            writer.close()
        taking.cancel()

    with listening("127.0.0.1", 0, 2) as listeners:
        asyncio.run(main(listeners))
