"""What a stream was like, for tests to look at."""

import time
from dataclasses import dataclass, field

from .rules import AudioMeter


@dataclass
class StreamReport:
    """One handshake, and the stream that it became if it was accepted."""

    number: int
    # When the handshake came, in seconds since 1970.
    opened_at: float = field(default_factory=time.time)
    parameters: dict[str, str] = field(default_factory=dict)
    # "ok", or why the URL was refused.
    signature: str = ""
    host: str = ""
    accepted: bool = False
    chunks_signed: bool = False
    audio_ended: bool = False
    # Finals as they were sent, whole; and what each of the other frames was.
    finals: list[dict] = field(default_factory=list)
    partials: int = 0
    last_partial: dict | None = None
    faults: list[str] = field(default_factory=list)
    # Why the stream or its handshake ended; None while it lives. Nothing of the report changes after it.
    ended: str | None = None
    # Of the stand-in itself, should it have one.
    error: str | None = None
    meter: AudioMeter | None = None
    # On the accelerated clock, from the handshake to the end; None if no stream came of it.
    seconds: float | None = None

    def public(self) -> dict:
        report = {name: value for name, value in vars(self).items() if name != "meter"}
        meter = self.meter
        return report | {
            "audio_seconds": meter.seconds if meter else 0.0,
            "silence_seconds": meter.silence_seconds if meter else 0.0,
            "chunk_bytes": {str(size): count for size, count in meter.chunk_bytes.items()} if meter else {},
            "max_lead": meter.max_lead if meter else 0.0,
            "max_burst": meter.max_burst if meter else 0.0,
        }
