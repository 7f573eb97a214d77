"""Two ways to end a connection."""

import asyncio
import socket
import struct

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed


async def close(connection: ServerConnection, code: int = 1000) -> None:
    """Closes it in order. What still comes is thrown away: unread, it would hold back the client's own close frame."""
    closing = asyncio.create_task(connection.close(code))
    try:
        while True:
            await connection.recv()
    except ConnectionClosed:
        await closing


def abort(connection: ServerConnection) -> None:
    """Ends it with a TCP reset."""
    raw = connection.transport.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.transport.abort()
