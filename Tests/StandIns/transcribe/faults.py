"""What a test orders to go wrong, and when. Decides only; `breakage` does it."""

import time
from dataclasses import dataclass, field, fields
from typing import get_type_hints

# Done instead of the answer 101, or before it.
HANDSHAKE_ACTIONS = {"refuse", "hang", "drop"}
STREAM_ACTIONS = {
    "exception", "unknown-event", "empty-results", "wrong-prelude-checksum", "wrong-checksum", "cut-message",
    "cut-frame", "text", "stall", "mute", "partials-only", "close", "reset",
}  # fmt: skip
REFUSALS = {
    400: "BadRequestException",
    403: "UnrecognizedClientException",
    429: "LimitExceededException",
    500: "InternalFailureException",
    503: "ServiceUnavailableException",
}
# Instead of a number of seconds: when the client has ended its audio, before the last finals.
AT_END = "end"


@dataclass
class Fault:
    """One order. It befalls a stream at most once, and `times` streams at most (None: all of them)."""

    action: str
    # Handshakes are counted from 1 since the start or the last reset, refused ones too. None is any.
    stream: int | None = None
    # Seconds of audio that the stream must have received, or AT_END. Not for handshakes.
    at: float | str = 0.0
    times: int | None = 1
    # For so many seconds on the wall from now on; None is for good.
    seconds: float | None = None
    # For `exception`, and as the error type of `refuse`.
    exception: str | None = None
    message: str | None = None
    # For `exception`: sent as it is, instead of JSON with the message.
    payload: str | None = None
    # For `refuse`.
    status: int = 500
    # For `close`.
    code: int = 1000
    # For `hang`, `stall` and `mute`: seconds on the wall after which all goes on; None is never.
    lasts: float | None = None

    id: int = field(default=0, init=False)
    fired: int = field(default=0, init=False)
    ordered_at: float = field(default_factory=time.monotonic, init=False)

    def __post_init__(self):
        if self.action not in HANDSHAKE_ACTIONS | STREAM_ACTIONS:
            raise ValueError(f"no action {self.action!r}; known are {sorted(HANDSHAKE_ACTIONS | STREAM_ACTIONS)}")
        if isinstance(self.at, str) and self.at != AT_END:
            raise ValueError(f"at is {self.at!r}, but must be a number of seconds or {AT_END!r}")
        if self.of_handshake and self.at != 0:
            raise ValueError(f"{self.action} is for handshakes, which have no audio: leave out at")
        if self.action == "refuse" and self.exception is None and self.status not in REFUSALS:
            raise ValueError(f"status {self.status} needs an exception; known are {sorted(REFUSALS)}")

    @classmethod
    def ordered(cls, order: dict) -> "Fault":
        """From a test's JSON; a ValueError says what is wrong with it."""
        hints = get_type_hints(cls)
        known = {one.name for one in fields(cls) if one.init}
        for name, value in order.items():
            if name not in known:
                raise ValueError(f"a fault has no {name!r}; known are {sorted(known)}")
            as_number = float(value) if type(value) is int and name in ("at", "seconds", "lasts") else value
            if isinstance(value, bool) or not isinstance(as_number, hints[name]):
                raise ValueError(f"{name} is {value!r}, which is not of type {hints[name]}")
        if "action" not in order:
            raise ValueError("a fault needs an action")
        return cls(**order)

    @property
    def of_handshake(self) -> bool:
        return self.action in HANDSHAKE_ACTIONS

    def applies(self, stream: int) -> bool:
        if self.stream not in (None, stream) or (self.times is not None and self.fired >= self.times):
            return False
        return self.seconds is None or time.monotonic() < self.ordered_at + self.seconds

    def public(self) -> dict:
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name != "ordered_at"}


class Faults:
    """All orders, oldest first."""

    def __init__(self):
        self.ordered: list[Fault] = []
        self._last_id = 0

    def order(self, fault: Fault) -> Fault:
        self._last_id += 1
        fault.id = self._last_id
        self.ordered.append(fault)
        return fault

    def clear(self) -> None:
        self.ordered.clear()

    def at_handshake(self, stream: int) -> Fault | None:
        """The one to befall this handshake, which counts as done."""
        for fault in self.ordered:
            if fault.of_handshake and fault.applies(stream):
                fault.fired += 1
                return fault
        return None

    def due(self, stream: int, audio_seconds: float, ended: bool, done: set[int]) -> list[Fault]:
        """Those to befall this stream now, which count as done; `done` holds the ids of those it has had."""
        found = []
        for fault in self.ordered:
            is_time = ended if fault.at == AT_END else audio_seconds >= fault.at
            if fault.of_handshake or fault.id in done or not is_time or not fault.applies(stream):
                continue
            fault.fired += 1
            done.add(fault.id)
            found.append(fault)
        return found
