"""Event-stream messages, read and written by the package amazon-transcribe; and messages spoilt on purpose."""

import hmac
import json
import struct
import zlib
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone

from amazon_transcribe.auth import Credentials
from amazon_transcribe.eventstream import EventSigner, EventStreamBuffer, EventStreamMessageSerializer

from .errors import BadRequest, ServiceException
from .presign import SERVICE, Presigned

AUDIO_HEADERS = {
    ":content-type": "application/octet-stream",
    ":event-type": "AudioEvent",
    ":message-type": "event",
}
CHUNK_CLOCK_TOLERANCE = timedelta(minutes=5)


class Undecodable(ServiceException):
    """A frame that is not exactly one valid message."""

    def __init__(self, problem: str):
        super().__init__("SerializationException", f"Could not deserialize the frame: {problem}")


@dataclass(frozen=True)
class Message:
    headers: dict
    payload: bytes


def decode(frame: bytes) -> Message:
    buffer = EventStreamBuffer()
    buffer.add_data(frame)
    try:
        message = buffer.next()
    except StopIteration:
        raise Undecodable(f"{len(frame)} bytes are not a whole message") from None
    except Exception as error:  # The package lets struct.error, KeyError and UnicodeDecodeError through.
        raise Undecodable(f"{type(error).__name__}: {error}") from None
    if message.prelude.total_length != len(frame):
        raise Undecodable(f"a message of {message.prelude.total_length} bytes in a frame of {len(frame)}")
    return Message(message.headers, message.payload)


def encode(headers: dict, payload: bytes) -> bytes:
    return EventStreamMessageSerializer().serialize(headers, payload)


def audio_event(pcm: bytes) -> bytes:
    """What a client sends; without audio it ends the stream."""
    return encode(AUDIO_HEADERS, pcm)


def transcript_event(results: list[dict]) -> bytes:
    return event("TranscriptEvent", {"Transcript": {"Results": results}})


def event(event_type: str, value: dict) -> bytes:
    headers = {":content-type": "application/json", ":event-type": event_type, ":message-type": "event"}
    return encode(headers, json.dumps(value).encode())


def exception_event(exception_type: str, payload: bytes) -> bytes:
    headers = {
        ":content-type": "application/json",
        ":exception-type": exception_type,
        ":message-type": "exception",
    }
    return encode(headers, payload)


def audio_of(message: Message) -> bytes:
    """The audio of an AudioEvent; a `BadRequest` if it is something else."""
    for name, expected in AUDIO_HEADERS.items():
        if (given := message.headers.get(name)) != expected:
            raise BadRequest(f"{name} is {given!r}, but must be {expected!r}")
    return message.payload


# Spoilt messages


def with_wrong_prelude_checksum(frame: bytes) -> bytes:
    """The message's own checksum is right, so that only one of the two can find it."""
    changed = frame[:8] + bytes([frame[8] ^ 0x5A]) + frame[9:-4]
    return changed + struct.pack("!I", zlib.crc32(changed))


def with_wrong_checksum(frame: bytes) -> bytes:
    return frame[:-1] + bytes([frame[-1] ^ 0x5A])


# Signed chunks


class ChunkSignatures:
    """Takes signed chunks apart; each signature is made with the one before, the first with that of the URL."""

    def __init__(self, presigned: Presigned):
        self._key, self._region = presigned.key, presigned.region
        self._prior = bytes.fromhex(presigned.signature)

    def unwrapped(self, message: Message) -> bytes:
        """The frame inside, or nothing at the end; raises if the signature is not the next one of the chain."""
        date, signature = message.headers.get(":date"), message.headers.get(":chunk-signature")
        if not isinstance(date, int) or not isinstance(signature, bytes):
            raise BadRequest("A signed chunk needs :date and :chunk-signature")
        signed_at = datetime.fromtimestamp(date // 1000, timezone.utc) + timedelta(milliseconds=date % 1000)
        if abs(datetime.now(timezone.utc) - signed_at) > CHUNK_CLOCK_TOLERANCE:
            raise ServiceException("InvalidSignatureException", "Signature expired: the chunk's date is not near now")
        if not hmac.compare_digest(self.signature(signed_at, message.payload), signature):
            raise ServiceException("InvalidSignatureException", "The chunk's signature does not match")
        self._prior = signature
        return message.payload

    def signature(self, signed_at: datetime, payload: bytes) -> bytes:
        """The next of the chain; it enters the chain when a chunk has it."""
        # The package rounds down to whole milliseconds by way of a float, which may be a little too small.
        exact = signed_at + timedelta(microseconds=100)
        signer = EventSigner(SERVICE, self._region, utc_now=lambda: exact)
        credentials = Credentials(self._key.id, self._key.secret, self._key.token)
        return signer.sign(payload, self._prior, credentials)[":chunk-signature"]

    def wrapped(self, payload: bytes) -> bytes:
        """What a client that signs sends for this frame; nothing is wrapped to end the stream."""
        now = datetime.now(timezone.utc)
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._prior = self.signature(now, payload)
        date = now + timedelta(microseconds=100)
        return encode({":date": date, ":chunk-signature": self._prior}, payload)
