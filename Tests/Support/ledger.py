"""Usage as nodes bring it to the ledger, put there by SQL, so that it is known what was used and when."""

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

from database import Database

COLUMNS = (
    "uuid[]", "uuid[]", "bigint[]", "text[]", "bigint[]", "text[]", "timestamptz[]", "bigint[]", "bigint[]", "bigint[]",
    "boolean[]", "text[]", "text[]", "text[]", "text[]", "text[]", "text[]", "bigint[]", "timestamptz[]", "timestamptz[]",
    "bigint[]", "bigint[]",
)  # fmt: skip


def session_id(start: datetime, number: int) -> str:
    """One that holds the time, as ids of sessions do (RFC 9562 section 5.7)."""
    milliseconds = f"{round(start.timestamp() * 1000):012x}"
    return f"{milliseconds[:8]}-{milliseconds[8:]}-7000-8000-{number:012x}"


@dataclass(frozen=True)
class Record:
    tenant: str
    session: str
    start: datetime
    at: datetime
    audio: int = 0
    connected: int = 0
    engine_ms: int = 0
    seq: int = 0
    segment: int = 0
    key: str = "key_1"
    engine: str = "synthetic"
    model: str = "general"
    language: str = "en"
    tags: list[str] = field(default_factory=list)
    region: str = "local"
    final: bool = False

    def row(self) -> tuple:
        return (
            self.tenant, self.session, self.segment, "node", self.seq, f"{self.at:%Y-%m}", self.at.isoformat(), self.audio,
            self.connected, self.engine_ms, self.final, self.key, self.engine, self.model, self.language,
            json.dumps(self.tags), self.region, 1, self.start.isoformat(), self.start.isoformat(), 0, 0,
        )  # fmt: skip


def speak(tenant: str, number: int, start: datetime, minutes: int, **fields) -> list[Record]:
    """A session of whole minutes, with a record at each one's end: half of the time is audio."""
    one = Record(tenant, session_id(start, number), start, start, **fields)
    return [
        replace(
            one, at=start + timedelta(minutes=minute, milliseconds=-1), audio=30_000 * minute, connected=60_000 * minute,
            engine_ms=31_000 * minute, seq=minute - 1, final=minute == minutes,
        )
        for minute in range(1, minutes + 1)
    ]  # fmt: skip


def ingest(database: Database, records: list[Record]) -> None:
    def literal(value) -> str:
        return "'" + str(value).replace("'", "''") + "'"

    columns = zip(*(record.row() for record in records))
    arrays = [f"ARRAY[{','.join(map(literal, column))}]::{kind}" for column, kind in zip(columns, COLUMNS)]
    database.query(f"SELECT ingest_usage({', '.join(arrays)})")


def roll_up(database: Database, at_most: int = 100_000) -> int:
    return int(database.query(f"SELECT roll_usage({at_most})")[0][0])


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)
