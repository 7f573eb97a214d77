"""Nodes of `hansard serve` that share a Postgres and stores on AWS, as in production."""

import signal
import subprocess
from pathlib import Path

from aws_emulators import environment_without_aws
from aws_state import Table
from cluster import Cluster
from database import Database
from places import BINARY
from processes import wait_until
from server import Server

SECRET = "a-secret-that-all-nodes-of-a-fleet-know-0123456789"
COMMAND_SECONDS = 60


class Node(Server):
    """One `hansard serve` of a fleet."""

    subcommand = "serve"

    def __init__(self, fleet: "Fleet", name: str, **settings: str):
        super().__init__(fleet.binary, HANSARD_NODE=name, **(fleet.settings | settings))
        self.fleet = fleet

    @property
    def key(self) -> str:
        return self.fleet.key

    def kill_at_once(self) -> None:
        """kill -9, without looking at what it has started: it has started nothing."""
        self.subprocess.send_signal(signal.SIGKILL)
        self.subprocess.wait()


class Fleet:
    """Makes nodes, for one tenant and one key, which a `hansard dev` has made in the shared database."""

    def __init__(self, cluster: Cluster, binary: Path = BINARY, **settings: str):
        self.binary = binary
        self.settings = {
            "HANSARD_DATABASE_URL": cluster.url,
            "HANSARD_DATABASE_OWNER_URL": cluster.url,
            "HANSARD_SECRET": SECRET,
            "HANSARD_ENGINE": "synthetic",
            "HANSARD_ENGINE_SLOTS": "200",
            "HANSARD_HANDSHAKES_PER_ADDRESS": "none",
            # Sessions of a crowd wait for each other.
            "HANSARD_IDLE_TIMEOUT": "600s",
        } | settings
        self.nodes: list[Node] = []
        in_postgres = {"HANSARD_CONNECTIONS": "postgres", "HANSARD_TRANSCRIPTS": ""}
        kept = {name: value for name, value in self.settings.items() if name not in in_postgres}
        with Server(binary, **kept) as first:
            self.key = first.key
        self.database = Database(cluster.url)
        self.tenant = self.database.query("SELECT tenant_id FROM tenants")[0][0]

    def limit_sessions(self, limit: int) -> None:
        """For nodes that are started afterwards."""
        self.database.query(
            f"UPDATE tenants SET max_concurrent_sessions = {limit}, limit_version = limit_version + 1 RETURNING 1"
        )

    def start(self, name: str, **settings: str) -> Node:
        node = Node(self, name, **settings)
        self.nodes.append(node)
        node.start()
        return node

    def aws_init(self, **settings: str) -> subprocess.CompletedProcess:
        return hansard("aws", "init", **(self.settings | settings))

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, *_) -> None:
        for node in self.nodes:
            node.clean_up()


def hansard(*arguments: str, **settings: str) -> subprocess.CompletedProcess:
    """A command of the product that ends by itself."""
    inherited = {name: value for name, value in environment_without_aws().items() if not name.startswith("HANSARD_")}
    return subprocess.run(
        [BINARY, *arguments], env=inherited | settings, capture_output=True, text=True, timeout=COMMAND_SECONDS
    )


def said(node, *words: str) -> list[dict]:
    """The log's warnings and errors that hold these words."""
    records = [record for record in node.log_records() if record.get("level") in ("warning", "error", "critical")]
    return [record for record in records if all(word.lower() in str(record).lower() for word in words)]


def state_of(fleet: Fleet, table: Table, session: str) -> str | None:
    return table.state(session, fleet.tenant)


def wait_for_state(fleet: Fleet, table: Table, session: str, state: str, seconds: float = 30) -> None:
    wait_until(lambda: state_of(fleet, table, session) == state, seconds, f"session {session} is {state}")


def check_quiet(fleet: Fleet, table: Table, seconds: float = 30) -> None:
    """No slot is held, by items and by the counter."""
    wait_until(lambda: not table.all_leases() and table.counter(fleet.tenant) == 0, seconds, "no slot is held")
