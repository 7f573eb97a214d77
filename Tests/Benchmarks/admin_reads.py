"""Reads of the admin plane per second, beside pgbench with the statements of one, on as many connections to the same
Postgres, in turns: what HTTP, the look at the token and JSON take of what the database could do."""

import os
import re
import statistics
import subprocess
import tempfile
from pathlib import Path

from database import Database
from operators import Operator
from places import RELEASE_BINARY
from processes import cpu_seconds
from server import Server

CONNECTIONS, SECONDS, TURNS, TENANTS = 8, 6, 3, 1_000

# What the server's own log of statements has for one read (log_statement = all).
SCRIPT = r"""\set number random(0, {last})
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY \; SET LOCAL ROLE hansard_operator;
SELECT * FROM tenants WHERE tenant_id = ('00000000-0000-4000-8000-' || lpad(:number::text, 12, '0'))::uuid
    AND status <> 'deleted';
COMMIT;
"""


def add_tenants(database: Database) -> list[str]:
    """Ids that follow each other, so that pgbench can name one by its number."""
    database.query(
        f"""
        INSERT INTO tenants (tenant_id, name, status, limit_version, created_at)
        SELECT ('00000000-0000-4000-8000-' || lpad(number::text, 12, '0'))::uuid, 'tenant ' || number, 'active', 1, now()
        FROM generate_series(0, {TENANTS - 1}) AS number
        """
    )
    return [f"00000000-0000-4000-8000-{number:012}" for number in range(TENANTS)]


def requests_per_second(server: Server, token: str, tenants: list[str], folder: Path) -> float:
    script = folder / "reads.lua"
    paths = ",".join(f'"/v1/admin/tenants/{tenant}"' for tenant in tenants)
    script.write_text(
        f"""
        local paths = {{{paths}}}
        wrk.headers["Authorization"] = "Bearer {token}"
        function request() return wrk.format("GET", paths[math.random(#paths)]) end
        function done(summary) if summary.errors.timeout > 0 then error("timeouts") end end
        """
    )
    command = ["wrk", "-t1", f"-c{CONNECTIONS}", f"-d{SECONDS}s", "-s", script, server.url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    assert "Non-2xx" not in output, output
    return float(re.search(r"Requests/sec:\s+([\d.]+)", output)[1])


def transactions_per_second(url: str, folder: Path) -> float:
    script = folder / "reads.sql"
    script.write_text(SCRIPT.format(last=TENANTS - 1))
    command = ["/usr/lib/postgresql/15/bin/pgbench", "-n", "-M", "simple", "-f", script]
    command += ["-c", str(CONNECTIONS), "-j", "1", "-T", str(SECONDS), url]
    if os.geteuid() == 0:
        command = ["runuser", "-u", "postgres", "--", *command]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd="/").stdout
    return float(re.search(r"tps = ([\d.]+)", output)[1])


def main() -> None:
    settings = dict(
        HANSARD_DATABASE_POOL=str(CONNECTIONS), HANSARD_REQUESTS_PER_TOKEN="none", HANSARD_REQUESTS_PER_ADDRESS="none")
    with Server(RELEASE_BINARY, **settings) as server, tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        tenants = add_tenants(server.database())
        token = Operator.owner(server).token
        ours, theirs, cpu = [], [], []
        for _ in range(TURNS):
            before = cpu_seconds(server.pid)
            ours.append(requests_per_second(server, token, tenants, folder))
            cpu.append((cpu_seconds(server.pid) - before) / (ours[-1] * SECONDS) * 1e6)
            theirs.append(transactions_per_second(server.database().url, folder))
    reads, transactions = statistics.median(ours), statistics.median(theirs)
    print(f"One tenant read by the admin plane, {CONNECTIONS} connections to Postgres, median of {TURNS} turns of {SECONDS} s")
    print(f"{'pgbench, the same statements':<40} {transactions:10,.0f} /s")
    print(f"{'GET /v1/admin/tenants/{id}':<40} {reads:10,.0f} /s, {reads / transactions:.2f} of pgbench's (aim 0.5)")
    print(f"{'CPU of the server for one':<40} {statistics.median(cpu):10,.0f} us")
    print()


if __name__ == "__main__":
    main()
