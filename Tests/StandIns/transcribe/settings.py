"""What a stand-in is told at its start, and what a test may change while it runs."""

from dataclasses import asdict, dataclass, field, fields, replace
from typing import get_type_hints

from .presign import AccessKey

MODES = ("words", "blocks")
CHUNK_SIGNING = ("refused", "optional", "required")


@dataclass(frozen=True)
class Settings:
    """Seconds are of the accelerated clock. `None` is no limit."""

    mode: str = "blocks"
    speed: float = 1.0
    region: str = "eu-west-1"
    chunk_signing: str = "optional"
    # Audio may be this far ahead of `pace_rate` times the clock since the stream's start; None only measures.
    lead_seconds: float | None = 5.0
    pace_rate: float = 1.0
    idle_seconds: float = 15.0
    max_chunk_seconds: float = 1.0
    max_stream_seconds: float = 14_400.0
    max_streams: int | None = None
    # Of the socket, in bytes: small, a peer that stops reading is soon noticed. None leaves it to the kernel.
    receive_buffer: int | None = None
    keys: tuple[AccessKey, ...] = field(default=(), repr=False)

    def __post_init__(self):
        if self.mode not in MODES:
            raise ValueError(f"mode is {self.mode!r}, but may be one of {MODES}")
        if self.chunk_signing not in CHUNK_SIGNING:
            raise ValueError(f"chunk_signing is {self.chunk_signing!r}, but may be one of {CHUNK_SIGNING}")
        if self.speed <= 0 or self.pace_rate <= 0:
            raise ValueError("speed and pace_rate must be above zero")

    def changed(self, changes: dict) -> "Settings":
        """A copy with these changed; a ValueError names what is unknown or of the wrong type."""
        hints = get_type_hints(Settings)
        for name, value in changes.items():
            if name not in hints or name == "keys":
                known = ", ".join(one.name for one in fields(self) if one.name != "keys")
                raise ValueError(f"no setting {name!r}; known are {known}")
            if isinstance(value, int) and not isinstance(value, bool) and hints[name] in (float, float | None):
                continue
            if isinstance(value, bool) or not isinstance(value, hints[name]):
                raise ValueError(f"{name} is {value!r}, which is not of type {hints[name]}")
        return replace(self, **changes)

    def public(self) -> dict:
        """All but the secrets."""
        return {name: value for name, value in asdict(self).items() if name != "keys"}
