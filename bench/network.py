"""A network between a producer and the emulator that can be cut and slowed: for chaos.py."""

from __future__ import annotations

import asyncio
import threading
from contextlib import suppress


class Network:
    """Forwards connections to a port of this machine, in a thread of its own. Use it as a context manager.

    is_cut: True closes all connections, and each new one at once.
    delay: seconds that each piece of data takes more, in both directions.
    """

    def __init__(self, port: int) -> None:
        self._port, self.is_cut, self.delay = port, False, 0.0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._writers: set[asyncio.StreamWriter] = set()

    def __enter__(self) -> Network:
        self._thread.start()
        start = asyncio.start_server(self._connect, "127.0.0.1", 0)
        self._server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.endpoint = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._server.close)
        self.cut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def cut(self) -> None:
        """Close all connections, and let no other begin until `is_cut` is False again."""
        self.is_cut = True
        self._loop.call_soon_threadsafe(lambda: [writer.close() for writer in self._writers])

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):  # the emulator is being restarted
            if not self.is_cut:
                far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._port)
                ends = {writer, far_writer}
                self._writers |= ends
                await asyncio.gather(self._forward(reader, far_writer), self._forward(far_reader, writer))
                self._writers -= ends
        writer.close()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await asyncio.sleep(self.delay)
                writer.write(data)
                await writer.drain()
        writer.close()
