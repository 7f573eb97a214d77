"""HTTP requests as these very bytes, for what no client's library would send."""

import socket
import uuid
from dataclasses import dataclass

from operators import Operator


@dataclass(frozen=True)
class RawAnswer:
    """What came until the server closed the connection."""

    received: bytes

    @property
    def head(self) -> str:
        return self.received.partition(b"\r\n\r\n")[0].decode("latin-1")

    @property
    def status(self) -> int:
        """0 if nothing came."""
        return int(self.head.split()[1]) if self.head else 0

    @property
    def text(self) -> str:
        return self.received.partition(b"\r\n\r\n")[2].decode()

    @property
    def header_names(self) -> set[str]:
        return {line.partition(":")[0].lower() for line in self.head.split("\r\n")[1:]}


def send_raw(
    caller: Operator, method: str, target: str | bytes, body: bytes = b"", *headers: str | bytes, host: str = "x"
) -> RawAnswer:
    """By whoever holds the caller's token, or by nobody if that is empty."""
    lines = [f"{method} ".encode() + in_bytes(target) + b" HTTP/1.1", f"Host: {host}".encode(), b"Connection: close"]
    if caller.token:
        lines += [f"Authorization: Bearer {caller.token}".encode()]
    if method != "GET":
        lines += [f"Content-Length: {len(body)}".encode()]
        if not any(in_bytes(header).startswith(b"Idempotency-Key") for header in headers):
            lines += [f"Idempotency-Key: {uuid.uuid4()}".encode()]
    with socket.create_connection(("127.0.0.1", caller.server.port), timeout=20) as connection:
        connection.sendall(b"\r\n".join([*lines, *map(in_bytes, headers), b"", b""]) + body)
        received = b""
        try:
            while piece := connection.recv(65_536):
                received += piece
        except ConnectionResetError:
            # Who is refused before its body was read may find the connection reset behind the answer.
            pass
    return RawAnswer(received)


def in_bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()
