"""One stream's life: audio in, results out, until one side ends it."""

import asyncio
import json
import time
import traceback
from concurrent.futures import Executor

from websockets.asyncio.server import ServerConnection
from websockets.exceptions import ConnectionClosed

from . import breakage, events
from .clock import Clock
from .connections import close
from .errors import BadRequest, IdleTooLong, ServiceException
from .faults import Faults
from .hearing import Ears, Heard
from .parameters import StreamParameters
from .presign import Presigned
from .report import StreamReport
from .results import Results
from .rules import AudioMeter
from .settings import Settings

# Chunks that wait to be heard; with more, the socket is not read.
WAITING_CHUNKS_MAX = 64
# An arrival that the event loop has not got round to is no silence.
GRACE_SECONDS = 0.02


class Stream:
    """Belongs to the event loop; only `ears` works on a thread."""

    def __init__(
        self,
        socket: ServerConnection,
        presigned: Presigned,
        parameters: StreamParameters,
        settings: Settings,
        faults: Faults,
        report: StreamReport,
        ears: Ears,
        executor: Executor | None,
    ):
        self.socket = socket
        self.session_id = parameters.session_id
        self.meter = report.meter = AudioMeter(parameters, settings)
        self.results = Results(parameters, capitalised=settings.mode == "words")
        self.partials_only = False
        # On the wall's monotonic clock; until then nothing is answered.
        self.muted_until = 0.0
        self._settings = settings
        self._faults = faults
        self._faults_done: set[int] = set()
        self._report = report
        self._ears = ears
        self._executor = executor
        self._clock = Clock(settings.speed)
        self._signatures = events.ChunkSignatures(presigned)
        # `None` is the end of the audio, `_STOP` the end without finals.
        self._unheard: asyncio.Queue[bytes | None | object] = asyncio.Queue(WAITING_CHUNKS_MAX)
        self._interruption: asyncio.Future[ServiceException] = asyncio.get_running_loop().create_future()

    def now(self) -> float:
        """Seconds since the stream's start, on its clock."""
        return self._clock.now()

    def interrupt(self, problem: ServiceException) -> None:
        """Ends the stream from outside."""
        if not self._interruption.done():
            self._interruption.set_result(problem)

    async def wait(self, seconds: float | None) -> None:
        """So long on the wall, or until the stream is interrupted."""
        await asyncio.wait({self._interruption}, timeout=seconds)
        self._raise_if_interrupted()

    async def run(self) -> None:
        """Returns when the stream is over and its connection closed or closing."""
        hearing = asyncio.create_task(self._hear())
        try:
            await self._converse(hearing)
            reason = "end of stream"
        except ServiceException as problem:
            await self._refuse(problem)
            reason = str(problem)
        except breakage.StreamBroken:
            reason = f"fault {self._report.faults[-1]}"
        except ConnectionClosed:
            reason = f"client closed {self.socket.close_code}"
        finally:
            self._report.seconds = self.now()
            await self._stop_hearing(hearing)
        # Last, because a report that has it changes no more.
        self._report.ended = reason

    # What comes

    async def _converse(self, hearing: asyncio.Task) -> None:
        await self._meet_faults()
        while audio := self._audio(await self._next_frame()):
            self.meter.audio_received(audio, self.now())
            await self._meet_faults()
            await self._unheard.put(audio)
        self._report.audio_ended = True
        await self._meet_faults()
        await self._unheard.put(None)
        await hearing
        self._raise_if_interrupted()
        await self._stay_while_muted()
        await close(self.socket)

    async def _next_frame(self) -> bytes | str:
        receiving = asyncio.create_task(self.socket.recv())
        try:
            while True:
                left = self._clock.on_the_wall(self.meter.idle_left(self.now()))
                patience = None if self._is_muted() else left + GRACE_SECONDS
                done, _ = await asyncio.wait(
                    {receiving, self._interruption}, timeout=patience, return_when=asyncio.FIRST_COMPLETED
                )
                self._raise_if_interrupted()
                if receiving in done:
                    return receiving.result()
                if self.meter.idle_left(self.now()) <= 0:
                    raise IdleTooLong(self._settings.idle_seconds)
        finally:
            receiving.cancel()
            # Whoever reads next must be the only one.
            await asyncio.wait({receiving})

    def _audio(self, frame: bytes | str) -> bytes:
        """The audio in a frame; nothing if it ends the stream."""
        if isinstance(frame, str):
            raise events.Undecodable("it is text")
        message = events.decode(frame)
        is_signed = ":chunk-signature" in message.headers
        rule = self._settings.chunk_signing
        if is_signed and rule == "refused":
            raise BadRequest("Chunks must not be signed")
        if not is_signed and (rule == "required" or self._report.chunks_signed):
            raise BadRequest("Chunks must be signed")
        if is_signed:
            self._report.chunks_signed = True
            inner = self._signatures.unwrapped(message)
            if not inner:
                return b""
            message = events.decode(inner)
        return events.audio_of(message)

    async def _meet_faults(self) -> None:
        ended = self._report.audio_ended
        for fault in self._faults.due(self._report.number, self.meter.seconds, ended, self._faults_done):
            # What was said before is answered before, so that a test knows what has been given by then.
            await self._unheard.join()
            self._report.faults.append(fault.action)
            await breakage.befall(self, fault)

    # What goes

    async def _hear(self) -> None:
        """Turns chunks into results in their order, until the end of the audio."""
        while True:
            audio = await self._unheard.get()
            try:
                if audio is not _STOP and not self._interruption.done():
                    for heard in await self._heard(audio):
                        await self._tell(heard)
            except ConnectionClosed:
                pass  # The reader notices as well.
            except Exception:
                self._report.error = traceback.format_exc()
                self.interrupt(ServiceException("InternalFailureException", "The stand-in has failed; see its report"))
            finally:
                self._unheard.task_done()
            if audio is None or audio is _STOP:
                return

    async def _heard(self, audio: bytes | None) -> list[Heard]:
        step, arguments = (self._ears.finish, ()) if audio is None else (self._ears.listen, (audio,))
        if self._executor is None:
            return step(*arguments)
        return await asyncio.get_running_loop().run_in_executor(self._executor, step, *arguments)

    async def _tell(self, heard: Heard) -> None:
        if self._is_muted() or (heard.is_final and self.partials_only):
            return
        result = self.results.result(heard)
        await self.socket.send(events.transcript_event([result]))
        if heard.is_final:
            self._report.finals.append(result)
        else:
            self._report.partials += 1
            self._report.last_partial = result

    async def _refuse(self, problem: ServiceException) -> None:
        try:
            await self._unheard.join()
            payload = json.dumps({"Message": problem.message}).encode()
            await self.socket.send(events.exception_event(problem.type, payload))
            await close(self.socket)
        except ConnectionClosed:
            pass

    async def _stop_hearing(self, hearing: asyncio.Task) -> None:
        if not hearing.done():
            while not self._unheard.empty():
                self._unheard.get_nowait()
                self._unheard.task_done()
            await self._unheard.put(_STOP)
            await hearing
        self._ears.abandon()

    async def _stay_while_muted(self) -> None:
        while self._is_muted():
            left = self.muted_until - time.monotonic()
            closed = asyncio.create_task(self.socket.wait_closed())
            await asyncio.wait({closed, self._interruption}, timeout=None if left == float("inf") else left,
                               return_when=asyncio.FIRST_COMPLETED)  # fmt: skip
            closed.cancel()
            self._raise_if_interrupted()
            if self.socket.close_code is not None:
                await self.socket.recv()  # Raises what the reader raises when the client has closed.

    def _is_muted(self) -> bool:
        return time.monotonic() < self.muted_until

    def _raise_if_interrupted(self) -> None:
        if self._interruption.done():
            raise self._interruption.result()


_STOP = object()
