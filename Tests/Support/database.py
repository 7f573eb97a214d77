"""The server's Postgres through psql, so that what it keeps is read by something other than itself."""

import os
import shlex
import subprocess
import threading
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Database:
    """A database, read as its owner. For root the private cluster runs as the system user postgres, and so do we."""

    url: str

    @staticmethod
    def of(server) -> "Database":
        given = server.settings.get("HANSARD_DATABASE_OWNER_URL")
        written = server.dev_env.get("HANSARD_DATABASE_OWNER_URL") or server.dev_env.get("HANSARD_DATABASE_URL")
        if given or written:
            return Database(given or written)
        return Database.from_postmaster(next(server.state_dir.rglob("postmaster.pid")))

    @staticmethod
    def from_postmaster(file: Path) -> "Database":
        """Reads where a running cluster listens: lines 4 and 5 of postmaster.pid are its port and socket folder."""
        lines = file.read_text().splitlines()
        return Database(f"host={lines[4]} port={lines[3]} dbname=hansard user={file.owner()}")

    def query(self, sql: str, seconds: float = 30) -> list[list[str]]:
        """The rows of a query, each value as text; an empty string for NULL."""
        command = self._psql("-c", sql)
        done = subprocess.run(command, capture_output=True, text=True, cwd="/", timeout=seconds)
        assert done.returncode == 0, f"{shlex.join(command)}: {done.stderr}"
        return [line.split("\x1f") for line in done.stdout.splitlines()]

    def _psql(self, *arguments: str) -> list[str]:
        command = ["psql", "-X", "-A", "-t", "-q", "-F", "\x1f", "-v", "ON_ERROR_STOP=1", "-d", self.url, *arguments]
        return ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command

    def dump(self) -> bytes:
        """All that is in it, by pg_dump."""
        command = ["pg_dump", "-d", self.url]
        command = ["runuser", "-u", "postgres", "--", *command] if os.geteuid() == 0 else command
        return subprocess.run(command, capture_output=True, check=True, cwd="/", timeout=60).stdout

    def transaction(self) -> "Transaction":
        """One that stays open until it is told to commit."""
        return Transaction(self._psql())

    # The only places that name the product's tables.

    def session_state(self, session_id: str) -> str | None:
        """`active`, `detached` while its slot is held, then what its status says."""
        rows = self.query(f"SELECT state FROM session_status WHERE session_id = '{session_id}'")
        if rows:
            return rows[0][0]
        held = self.query(f"SELECT 1 FROM leases WHERE session_id = '{session_id}'")
        return "active" if held else None

    # As `aws_state.Table` has them.

    def state(self, session_id: str, tenant: str) -> str | None:
        return self.session_state(session_id)

    def leases(self, tenant: str) -> list[list[str]]:
        return self.query(f"SELECT session_id FROM leases WHERE tenant_id = '{tenant}'")

    def all_leases(self) -> list[list[str]]:
        return self.query("SELECT session_id FROM leases")

    def counter(self, tenant: str) -> int:
        """How many slots the tenant holds by its counter; 0 before there is one."""
        rows = self.query(f"SELECT held FROM slots WHERE owner = 'T#{tenant}'")
        return int(rows[0][0]) if rows else 0

    def session_reason(self, session_id: str) -> str:
        return self.query(f"SELECT reason FROM session_status WHERE session_id = '{session_id}'")[0][0]

    def active_sessions(self) -> int:
        return int(self.query("SELECT count(*) FROM leases")[0][0])

    def usage(self, session_id: str) -> dict[str, int] | None:
        rows = self.query(
            f"SELECT audio_ms, connected_ms, channels FROM usage_rows WHERE session_id = '{session_id}'"
        )
        return dict(zip(("audio_ms", "connected_ms", "channels"), map(int, rows[0]))) if rows else None

    def expire_keys(self) -> None:
        self.query("UPDATE api_keys SET expires_at = now() - interval '1 hour'")


class Transaction:
    """An open transaction, in a psql of its own, which does what it is told as soon as Postgres lets it."""

    def __init__(self, command: list[str]):
        self._psql = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd="/"
        )
        # What psql printed: results, errors, and a line for each statement that is done.
        self.said: list[str] = []
        self._told = 0
        threading.Thread(target=self._read, daemon=True).start()
        self.tell("BEGIN")

    def _read(self) -> None:
        for line in self._psql.stdout:
            self.said.append(line.strip())

    def tell(self, statement: str) -> None:
        """Returns at once; `is_idle` says when it is done."""
        self._told += 1
        self._psql.stdin.write(f"{statement};\n\\echo done {self._told}\n")
        self._psql.stdin.flush()

    def is_idle(self) -> bool:
        """Whether all that it was told is done."""
        return f"done {self._told}" in self.said

    def close(self) -> None:
        """What is not committed is undone."""
        self._psql.stdin.close()
        self._psql.wait(20)
