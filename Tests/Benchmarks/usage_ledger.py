"""Usage records into the ledger on one connection, beside the same rows by COPY into a plain table; then the same records again,
which must change nothing."""

import os
import re
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from cluster import Cluster, running_cluster
from database import Database
from fleet import hansard
from places import RELEASE_BINARY

BATCH, SESSIONS, RECORDS, TENANTS, TURNS = 500, 10_000, 12, 100, 3
# As the product's own statement has them, in the order of the function's parameters.
COLUMNS = {
    "tenant": "uuid", "session": "uuid", "segment": "bigint", "source": "text", "seq": "bigint", "period": "text",
    "made_at": "timestamptz", "audio": "bigint", "connected": "bigint", "engine": "bigint", "is_final": "boolean",
    "key_id": "text", "engine_name": "text", "model": "text", "language": "text", "tags": "text", "region": "text",
    "channels": "bigint", "session_started": "timestamptz", "started": "timestamptz", "audio_before": "bigint",
    "connected_before": "bigint",
}


def fill(database: Database) -> None:
    """Sessions that live at once, each with a record every ten seconds: what a node sends while all of them speak."""
    database.query(f"CREATE TABLE given (number bigint, {', '.join(f'{name} {kind}' for name, kind in COLUMNS.items())})")
    database.query(
        f"""
        INSERT INTO given
        SELECT row_number() OVER (ORDER BY r, s) - 1, md5('t' || s % {TENANTS})::uuid, md5('s' || s)::uuid, 0, 'node', r,
            '2026-11', '2026-11-05T10:00:00Z'::timestamptz + r * interval '10 seconds', r * 10000, r * 10000, r * 10000,
            r = {RECORDS} - 1, 'key_' || s % 200, 'synthetic', 'nova-3', 'en-US', '["a"]', 'eu-west-1', 1,
            '2026-11-05T10:00:00Z', '2026-11-05T10:00:00Z', 0, 0
        FROM generate_series(0, {RECORDS} - 1) AS r, generate_series(1, {SESSIONS}) AS s
        """,
        120,
    )
    arrays = ", ".join(f"array_agg({name} ORDER BY tenant, session) AS {name}" for name in COLUMNS)
    database.query(f"CREATE TABLE batches AS SELECT number / {BATCH} AS batch, {arrays} FROM given GROUP BY 1", 120)
    database.query("CREATE INDEX ON batches (batch)")
    database.query("ANALYZE")


def ingested_per_second(url: str, folder: Path) -> float:
    batches = SESSIONS * RECORDS // BATCH
    script = folder / "ingest.sql"
    script.write_text(
        f"\\set batch :batch + 1\nSELECT ingest_usage({', '.join(COLUMNS)}) FROM batches WHERE batch = :batch - 1;\n"
    )
    os.chmod(script, 0o644)
    command = ["/usr/lib/postgresql/15/bin/pgbench", "-n", "-c1", f"-t{batches}", "-D", "batch=0", "-f", script, url]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
    return float(re.search(r"tps = ([\d.]+)", output)[1]) * BATCH


def copied_per_second(database: Database, folder: Path) -> float:
    file = folder / "rows"
    database.query(f"COPY given TO '{file}'", 120)
    database.query("CREATE TABLE plain (LIKE given)")
    began = time.monotonic()
    database.query(f"COPY plain FROM '{file}'", 120)
    seconds = time.monotonic() - began
    database.query("DROP TABLE plain")
    file.unlink()
    return SESSIONS * RECORDS / seconds


def turn(cluster: Cluster, folder: Path, number: int) -> tuple[float, float, float]:
    name = f"turn_{number}"
    Database(cluster.url).query(f"CREATE DATABASE {name}")
    url = cluster.url.replace("/postgres?", f"/{name}?")
    migrated = hansard("migrate", binary=RELEASE_BINARY, HANSARD_DATABASE_URL=url)
    assert migrated.returncode == 0, migrated.stderr
    database = Database(url)
    fill(database)
    first = ingested_per_second(url, folder)
    (count,) = database.query("SELECT count(*) FROM usage_records")[0]
    (audio,) = database.query("SELECT sum(audio_ms) FROM usage_segments")[0]
    assert int(count) == SESSIONS * RECORDS and int(audio) == SESSIONS * (RECORDS - 1) * 10_000
    again = ingested_per_second(url, folder)
    assert database.query("SELECT count(*) FROM usage_records")[0] == [count]
    copied = copied_per_second(database, folder)
    Database(cluster.url).query(f"DROP DATABASE {name}")
    return first, again, copied


with tempfile.TemporaryDirectory() as made, running_cluster() as running:
    os.chmod(made, 0o777)
    turns = [turn(running, Path(made), number) for number in range(TURNS)]
    ingested, repeated, plain = (statistics.median(column) for column in zip(*turns))
    print(f"Usage records per second, one connection, batches of {BATCH}, median of {TURNS} turns (no fsync)")
    print(f"COPY into a plain table              {plain:10,.0f} /s")
    print(f"into the ledger                      {ingested:10,.0f} /s, {ingested / plain:.2f} of COPY (aim 40,000 /s and 0.5)")
    print(f"the same again, which changes nothing{repeated:10,.0f} /s")
