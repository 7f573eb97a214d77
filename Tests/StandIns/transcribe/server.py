"""The WebSocket port: handshakes, and the streams that come of them."""

import asyncio
import json
import logging
import socket
import ssl
import uuid
from concurrent.futures import ThreadPoolExecutor

from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from .blocks import BlockRecogniser
from .connections import abort, close
from .errors import BadRequest, ServiceException
from .events import exception_event
from .faults import REFUSALS, Fault, Faults
from .hearing import Ears
from .parameters import StreamParameters, stream_parameters
from .presign import PATH, Presigned, Refused, verify
from .report import StreamReport
from .settings import Settings
from .stream import Stream

# More than the largest payload of the event stream, so that a rule refuses it and not the WebSocket.
LARGEST_FRAME = 17 << 20
HEARING_THREADS = 4

log = logging.getLogger("transcribe")


class StandIn:
    """Belongs to the event loop."""

    def __init__(self, settings: Settings):
        self.settings = self._first_settings = settings
        self.faults = Faults()
        self.reports: list[StreamReport] = []
        self.port = 0
        self._streams: set[Stream] = set()
        self._connections: set[ServerConnection] = set()
        self._executor: ThreadPoolExecutor | None = None
        self._decoders = None
        self._server = None

    async def start(self, port: int, tls: ssl.SSLContext | None) -> None:
        if self.settings.mode == "words":
            await self._prepare_decoders()
        listener = socket.create_server(("127.0.0.1", port), backlog=512)
        if self.settings.receive_buffer is not None:
            # Connections inherit it; set after the handshake it would come too late for the window.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.settings.receive_buffer)
        self.port = listener.getsockname()[1]
        self._server = await serve(
            self._handle,
            sock=listener,
            ssl=tls,
            process_request=self._answer_handshake,
            process_response=self._add_headers,
            compression=None,
            open_timeout=None,
            ping_interval=None,
            close_timeout=5,
            max_size=LARGEST_FRAME,
        )

    async def stop(self) -> None:
        self._server.close(close_connections=False)
        self._abort_all()
        await self._server.wait_closed()
        if self._executor:
            self._executor.shutdown()

    def reset(self) -> None:
        """Resets all connections, and forgets all that was ordered, changed and seen."""
        self._abort_all()
        self.faults = Faults()
        self.reports = []
        self.settings = self._first_settings

    async def change(self, changes: dict) -> None:
        """Changes settings; streams that have begun keep theirs."""
        settings = self.settings.changed(changes)
        if settings.mode == "words":
            await self._prepare_decoders()
        self.settings = settings

    # Handshakes

    async def _answer_handshake(self, connection: ServerConnection, request: Request) -> Response | None:
        report = connection.report = StreamReport(len(self.reports) + 1)
        self.reports.append(report)
        self._connections.add(connection)
        asyncio.ensure_future(connection.connection_lost_waiter).add_done_callback(
            lambda _: self._connections.discard(connection)
        )
        try:
            report.host = request.headers.get("Host", "")
            connection.presigned = verify(request.path, report.host, self.settings.keys, self.settings.region)
            report.parameters, report.signature = connection.presigned.parameters, "ok"
            if fault := self.faults.at_handshake(report.number):
                report.faults.append(fault.action)
                await self._befall_handshake(connection, fault)
        except Refused as refused:
            report.signature = report.signature or str(refused)
            report.ended = f"refused: {refused}"
            return _refusal(refused)
        return None

    async def _befall_handshake(self, connection: ServerConnection, fault: Fault) -> None:
        if fault.action == "refuse":
            name = fault.exception or REFUSALS[fault.status]
            raise Refused(fault.status, name, fault.message or "As ordered")
        if fault.action == "hang":
            await asyncio.wait({connection.connection_lost_waiter}, timeout=fault.lasts)
            if not connection.connection_lost_waiter.done():
                return
        abort(connection)
        connection.report.ended = f"fault {fault.action}"

    def _add_headers(self, connection: ServerConnection, request: Request, response: Response) -> None:
        response.headers["x-amzn-RequestId"] = str(uuid.uuid4())
        if response.status_code == 101:
            given = connection.presigned.parameters.get("session-id")
            response.headers["x-amzn-SessionId"] = given or str(uuid.uuid4())
            response.headers["websocket-location"] = f"wss://{connection.report.host}{PATH}"

    # Streams

    async def _handle(self, connection: ServerConnection) -> None:
        report = connection.report
        report.accepted = True
        try:
            stream = self._begin(connection, report)
        except ServiceException as problem:
            report.ended = str(problem)
            payload = json.dumps({"Message": problem.message}).encode()
            await connection.send(exception_event(problem.type, payload))
            await close(connection)
            return
        self._streams.add(stream)
        try:
            await stream.run()
        finally:
            self._streams.discard(stream)
            if report.error:
                log.error("stream %d: %s", report.number, report.error)

    def _begin(self, connection: ServerConnection, report: StreamReport) -> Stream:
        presigned: Presigned = connection.presigned
        parameters = stream_parameters(presigned.parameters)
        for other in self._streams:
            if parameters.session_id is not None and other.session_id == parameters.session_id:
                other.interrupt(ServiceException("ConflictException"))
        if self.settings.max_streams is not None and len(self._streams) >= self.settings.max_streams:
            raise ServiceException("LimitExceededException", "You have reached your limit of concurrent streams.")
        in_words = self.settings.mode == "words"
        ears, executor = self._ears(parameters, in_words), self._executor if in_words else None
        return Stream(connection, presigned, parameters, self.settings, self.faults, report, ears, executor)

    def _ears(self, parameters: StreamParameters, in_words: bool) -> Ears:
        if parameters.rate % 10:
            raise BadRequest("This stand-in hears only rates that are a multiple of 10")
        if in_words:
            from .words import WordRecogniser

            return Ears(
                [WordRecogniser(parameters.rate, self._decoders) for _ in range(parameters.channels)], parameters.rate
            )
        return Ears([BlockRecogniser(parameters.rate) for _ in range(parameters.channels)], parameters.rate)

    async def _prepare_decoders(self) -> None:
        """Makes the first one now, so that the first words are not late."""
        if self._decoders is not None:
            return
        from .words import Decoders  # The model's package takes a while to load, and `blocks` needs none of it.

        self._decoders = Decoders()
        self._executor = ThreadPoolExecutor(HEARING_THREADS, thread_name_prefix="hearing")
        decoders = self._decoders
        await asyncio.get_running_loop().run_in_executor(
            self._executor, lambda: decoders.give_back(decoders.take())
        )

    def _abort_all(self) -> None:
        for stream in self._streams:
            stream.interrupt(ServiceException("InternalFailureException", "The stand-in was reset"))
        for connection in list(self._connections):
            abort(connection)


def _refusal(refused: Refused) -> Response:
    body = json.dumps({"message": refused.message}).encode()
    headers = Headers(
        {
            "x-amzn-errortype": refused.error_type,
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Connection": "close",
        }
    )
    return Response(refused.status, refused.error_type, headers, body)
