"""Keys by the million: what recognising a caller costs (instructions by callgrind, which carry over to other machines, and
CPU), what a key takes in memory, how long a change takes while the snapshot is being read, and how long a node with a
million keys takes to start."""

import time

from database import Database
from places import PROJECT, RELEASE_BINARY
from processes import resident_bytes
from programs import Program
from server import Server

PROGRAM = Program(
    "key_check",
    ["Hansard", "Web", "Crypto", "EventLoops", "Logging"]
    + ["HashTreeCollections", "DequeModule", "InternalCollectionsUtilities"],
    ["crypto", "uv", "websockets"],
    # What is the server's own.
    [
        PROJECT / f"Sources/HansardServer/{name}.swift"
        for name in ("Access/Authenticator", "Access/AccessDirectory", "Logging/Logger+Errors", "Settings/DurationText")
    ],
)
COUNT, FEW, MANY, CHANGES = 200_000, 1_000, 11_000, 100
MILLION = 1_000_000


def checks() -> None:
    print("Recognising a caller from the snapshot (instructions without SHA extensions, which callgrind lacks)")
    print(f"{'':<32} {'instructions':>12} {'1 key':>10} {'1,000':>10} {'1,000,000':>10}")
    names = {"known": "a key", "unknown": "a key that nobody has", "junk": "a wrong checksum", "token": "an access token"}
    for what, name in names.items():
        nanoseconds = [float(PROGRAM.said(what, keys, COUNT)) * 1_000 for keys in (1, 1_000, MILLION)]
        print(f"{name:<32} {PROGRAM.instructions(FEW, MANY, what, 1_000):12,}" + "".join(f"{each:7,.0f} ns" for each in nanoseconds))
    print(f"{'memory of a key, of a million':<32} {float(PROGRAM.said('memory', MILLION)):12,.0f} bytes")
    print(f"{'a change, while it is read':<32} {float(PROGRAM.said('change', MILLION, CHANGES)):12,.1f} us at most, of {CHANGES}")
    print()


def add_keys(database: Database) -> None:
    """Behind the feed's back, or each would be an event."""
    database.query(
        f"""
        SET session_replication_role = replica;
        WITH tenant AS (
            INSERT INTO tenants (tenant_id, name, status, limit_version, created_at)
            VALUES (gen_random_uuid(), 'one with many', 'active', 1, now()) RETURNING tenant_id
        )
        INSERT INTO api_keys (key_id, tenant_id, digest, name, scopes, display_prefix, display_suffix, is_enabled,
            family, created_at)
        SELECT 'key_' || lpad(number::text, 22, '0'), tenant_id, sha256(number::text::bytea), 'key ' || number,
            '{{listen,transcripts:read}}', 'hsk_live_abcd', 'efgh', true, 'key_' || lpad(number::text, 22, '0'), now()
        FROM tenant, generate_series(1, {MILLION}) AS number
        """,
        seconds=300,
    )


def start() -> None:
    with Server(RELEASE_BINARY) as server:
        add_keys(server.database())
        few = resident_bytes(server.pid)
        server.stop()
        begun = time.monotonic()
        server.start()
        took = time.monotonic() - begun
        many = resident_bytes(server.pid)
        server.stop()
    print(f"A node with {MILLION:,} keys: ready after {took:.1f} s (its Postgres' start included),")
    print(f"{many / 2**20:,.0f} MiB resident instead of {few / 2**20:,.0f}")
    print()


if __name__ == "__main__":
    PROGRAM.compile()
    checks()
    start()
