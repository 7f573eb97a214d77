"""What the faults of `faults` do to a stream. Those that end it raise `StreamBroken`."""

import asyncio
import json
import struct
import time
from typing import TYPE_CHECKING

from . import events
from .connections import abort, close
from .errors import MESSAGES
from .faults import Fault
from .hearing import Heard, Word

if TYPE_CHECKING:
    from .stream import Stream

# In a frame that nobody may believe.
FALSE_WORD = "spoilt"
BINARY_FINAL_FRAME, LENGTH_OF_16_BITS = 0x82, 126


class StreamBroken(Exception):
    """The connection has been ended as ordered."""


async def befall(stream: "Stream", fault: Fault) -> None:
    await ACTIONS[fault.action](stream, fault)


async def _exception(stream: "Stream", fault: Fault) -> None:
    name = fault.exception or "InternalFailureException"
    message = MESSAGES.get(name, name) if fault.message is None else fault.message
    payload = json.dumps({"Message": message}) if fault.payload is None else fault.payload
    await stream.socket.send(events.exception_event(name, payload.encode()))
    await close(stream.socket)
    raise StreamBroken


async def _unknown_event(stream: "Stream", fault: Fault) -> None:
    await stream.socket.send(events.event("CategoryEvent", {"MatchedCategories": [FALSE_WORD]}))


async def _empty_results(stream: "Stream", fault: Fault) -> None:
    await stream.socket.send(events.transcript_event([]))


async def _wrong_prelude_checksum(stream: "Stream", fault: Fault) -> None:
    await stream.socket.send(events.with_wrong_prelude_checksum(_false_final(stream)))


async def _wrong_checksum(stream: "Stream", fault: Fault) -> None:
    await stream.socket.send(events.with_wrong_checksum(_false_final(stream)))


async def _cut_message(stream: "Stream", fault: Fault) -> None:
    frame = _false_final(stream)
    await stream.socket.send(frame[: len(frame) // 2])


async def _cut_frame(stream: "Stream", fault: Fault) -> None:
    frame = _false_final(stream)
    assert 126 <= len(frame) < 65536, "the header below is for such lengths"
    header = struct.pack("!BBH", BINARY_FINAL_FRAME, LENGTH_OF_16_BITS, len(frame))
    stream.socket.transport.write(header + frame[: len(frame) // 2])
    # Sends what is buffered, and then FIN.
    stream.socket.transport.close()
    raise StreamBroken


async def _text(stream: "Stream", fault: Fault) -> None:
    await stream.socket.send(json.dumps({"Transcript": {"Results": [_false_result(stream)]}}))


async def _stall(stream: "Stream", fault: Fault) -> None:
    """Neither reads nor answers, not even pings: what is sent stays in the kernel's buffers."""
    stream.socket.transport.pause_reading()
    await stream.wait(fault.lasts)
    stream.socket.transport.resume_reading()
    stream.meter.waited_until(stream.now())


async def _mute(stream: "Stream", fault: Fault) -> None:
    stream.muted_until = float("inf") if fault.lasts is None else time.monotonic() + fault.lasts


async def _partials_only(stream: "Stream", fault: Fault) -> None:
    stream.partials_only = True


async def _close(stream: "Stream", fault: Fault) -> None:
    await close(stream.socket, fault.code)
    raise StreamBroken


async def _reset(stream: "Stream", fault: Fault) -> None:
    # What was written before may be lost with a reset, so let it leave first.
    await asyncio.sleep(0)
    abort(stream.socket)
    raise StreamBroken


def _false_result(stream: "Stream") -> dict:
    at = stream.meter.seconds
    # A segment of its own, so that the true ones keep their ids.
    return stream.results.result(Heard(-1, True, (Word(FALSE_WORD, at, at + 0.1, 1.0),)))


def _false_final(stream: "Stream") -> bytes:
    return events.transcript_event([_false_result(stream)])


ACTIONS = {
    "exception": _exception,
    "unknown-event": _unknown_event,
    "empty-results": _empty_results,
    "wrong-prelude-checksum": _wrong_prelude_checksum,
    "wrong-checksum": _wrong_checksum,
    "cut-message": _cut_message,
    "cut-frame": _cut_frame,
    "text": _text,
    "stall": _stall,
    "mute": _mute,
    "partials-only": _partials_only,
    "close": _close,
    "reset": _reset,
}
