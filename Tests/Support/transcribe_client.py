"""A plain client of Amazon Transcribe Streaming, for the stand-in's own tests and for measuring without a gateway.

URLs are presigned by botocore, frames made by the package amazon-transcribe.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from urllib.parse import urlencode, urlsplit

from botocore.auth import SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from aws_emulators import REGION, AccessKey
from transcribe import KEY
from StandIns.transcribe import events
from StandIns.transcribe.presign import PATH, Presigned

DEFAULTS = {"language-code": "en-US", "media-encoding": "pcm", "sample-rate": "16000"}


def presigned_url(
    endpoint: str, parameters: dict, key: AccessKey = KEY, region: str = REGION, expires: int = 60
) -> str:
    """ws:// or wss://, for an endpoint that begins with http:// or https://."""
    request = AWSRequest(method="GET", url=f"{endpoint}{PATH}?{urlencode(parameters)}")
    SigV4QueryAuth(Credentials(key.id, key.secret, key.token), "transcribe", region, expires=expires).add_auth(request)
    return "ws" + request.url.removeprefix("http")


@dataclass
class Seen:
    """All that a client has been sent."""

    results: list[dict] = field(default_factory=list)
    # `:exception-type` and `Message`; the message is None if the payload is no JSON.
    exceptions: list[tuple[str, str | None]] = field(default_factory=list)
    # Frames that are no valid message, text too.
    invalid: list[bytes | str] = field(default_factory=list)
    unknown_events: list[str] = field(default_factory=list)
    empty_results: int = 0

    @property
    def finals(self) -> list[dict]:
        return [result for result in self.results if not result["IsPartial"]]

    @property
    def partials(self) -> list[dict]:
        return [result for result in self.results if result["IsPartial"]]

    def frame_received(self, frame: bytes | str) -> None:
        try:
            message = events.decode(frame) if isinstance(frame, bytes) else None
        except events.Undecodable:
            message = None
        if message is None:
            self.invalid.append(frame)
        elif message.headers[":message-type"] == "exception":
            try:
                text = json.loads(message.payload)["Message"]
            except ValueError:
                text = None
            self.exceptions.append((message.headers[":exception-type"], text))
        elif message.headers[":event-type"] == "TranscriptEvent":
            results = json.loads(message.payload)["Transcript"]["Results"]
            self.results += results
            self.empty_results += not results
        else:
            self.unknown_events.append(message.headers[":event-type"])


class TranscribeClient:
    """One stream; use as an asynchronous context manager. What comes is in `seen`."""

    def __init__(self, endpoint: str, key: AccessKey = KEY, signs_chunks: bool = False, ssl=None, **parameters):
        given = {name.replace("_", "-"): value for name, value in parameters.items()}
        self.parameters = {name: str(value) for name, value in (DEFAULTS | given).items() if value is not None}
        self.url = presigned_url(endpoint, self.parameters, key)
        self.seen = Seen()
        self.close_code: int | None = None
        self._ssl = ssl
        self._signatures = None
        if signs_chunks:
            signature = urlsplit(self.url).query.rpartition("X-Amz-Signature=")[2]
            self._signatures = events.ChunkSignatures(Presigned({}, key, REGION, signature))
        self._socket: ClientConnection | None = None
        self._reading: asyncio.Task | None = None

    async def __aenter__(self) -> "TranscribeClient":
        self._socket = await connect(
            self.url, ssl=self._ssl, proxy=None, compression=None, ping_interval=None, max_size=None, close_timeout=2
        )
        self._reading = asyncio.create_task(self._read())
        return self

    async def __aexit__(self, *_) -> None:
        await self._socket.close()
        await self._reading

    @property
    def socket(self) -> ClientConnection:
        return self._socket

    async def send(self, audio: bytes) -> None:
        """One chunk; without audio it ends the stream."""
        frame = events.audio_event(audio)
        if self._signatures:
            frame = self._signatures.wrapped(frame if audio else b"")
        await self._socket.send(frame)

    async def stream(self, chunks: Iterable[bytes], pace: float | None = None, speed: float = 1.0) -> Seen:
        """Sends all, ends the stream, and returns what was seen until the server closed.

        `pace` is the length of a chunk in seconds: the n-th goes n times that after the first, `speed` times as fast.
        """
        try:
            async for chunk in _paced(chunks, pace, speed):
                await self.send(chunk)
            await self.send(b"")
        except ConnectionClosed:
            pass
        return await self.closed()

    async def closed(self) -> Seen:
        """What was seen until the connection ended. May be cancelled; reading goes on."""
        await asyncio.shield(self._reading)
        return self.seen

    async def _read(self) -> None:
        try:
            async for frame in self._socket:
                self.seen.frame_received(frame)
        except ConnectionClosed:
            pass
        await self._socket.wait_closed()
        self.close_code = self._socket.close_code


async def _paced(chunks: Iterable[bytes], pace: float | None, speed: float) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    started = loop.time()
    for index, chunk in enumerate(chunks):
        if pace is not None:
            await asyncio.sleep(max(0.0, started + index * pace / speed - loop.time()))
        yield chunk


def chunks_of(audio: bytes, size: int) -> list[bytes]:
    return [audio[at : at + size] for at in range(0, len(audio), size)]
