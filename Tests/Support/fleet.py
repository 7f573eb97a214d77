"""Nodes of `hansard serve` that share a Postgres and stores on AWS, as in production."""

import signal
import subprocess
from pathlib import Path

from aws_emulators import environment_without_aws
from aws_state import Table
from cluster import NODE_ROLE, Cluster
from database import Database
from places import BINARY
from processes import wait_until
from server import Server

SECRET = "a-secret-that-all-nodes-of-a-fleet-know-0123456789"
COMMAND_SECONDS = 60
# Where connection state is read, whichever store keeps it.
State = Table | Database


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


class Founding:
    """A cluster whose database has one tenant with one key, made by a `hansard dev`, and copies of that database."""

    def __init__(self, cluster: Cluster, binary: Path = BINARY, environment: dict[str, str] | None = None):
        """The environment is added to the server's."""
        self.cluster = cluster
        self.binary = binary
        settings = {"HANSARD_DATABASE_URL": cluster.url, "HANSARD_SECRET": SECRET, "HANSARD_ENGINE": "synthetic"}
        with Server(binary, **(settings | (environment or {}))) as first:
            self.key = first.key
        Database(cluster.url).query(
            f"DO $$ BEGIN CREATE ROLE {NODE_ROLE} LOGIN IN ROLE hansard_app; "
            "EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        self._template = Database(cluster.url.replace("/postgres?", "/template1?"))
        self._copies = 0

    def copy(self) -> Database:
        """A database of its own for a fleet, in a fraction of the time that making one takes."""
        self._copies += 1
        name = f"fleet_{self._copies}"
        self._template.query(f"CREATE DATABASE {name} TEMPLATE postgres")
        return Database(self.cluster.url.replace("/postgres?", f"/{name}?"))


class Fleet:
    """Makes nodes for one tenant and one key, which share a database."""

    def __init__(self, founding: Founding, **settings: str):
        self.key = founding.key
        self.binary = founding.binary
        self.database = founding.copy()
        self.settings = {
            # Nodes find in the database what its doors show them.
            "HANSARD_DATABASE_URL": self.database.url.replace("//postgres@", f"//{NODE_ROLE}@"),
            "HANSARD_DATABASE_OWNER_URL": self.database.url,
            "HANSARD_SECRET": SECRET,
            "HANSARD_ENGINE": "synthetic",
            "HANSARD_ENGINE_SLOTS": "200",
            "HANSARD_HANDSHAKES_PER_ADDRESS": "none",
            # Sessions of a crowd wait for each other.
            "HANSARD_IDLE_TIMEOUT": "600s",
        } | settings
        self.nodes: list[Node] = []
        self.tenant = self.database.query("SELECT tenant_id FROM tenants")[0][0]

    def database_through(self, port: int) -> str:
        """Where nodes find Postgres by a port of this machine."""
        name = self.database.url.split("/")[3].split("?")[0]
        return f"postgresql://{NODE_ROLE}@127.0.0.1:{port}/{name}"

    def connect_through(self, port: int) -> None:
        """Has nodes that are started afterwards reach Postgres by a port of this machine."""
        self.settings["HANSARD_DATABASE_URL"] = self.database_through(port)

    def admin_token(self) -> str:
        """A token of an owner, by the command line; nodes that run already learn of it a moment later."""
        made = hansard("admin", "token", "--name", "a test", binary=self.binary, **self.settings)
        assert made.returncode == 0, made.stderr
        return made.stdout.strip()

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


def hansard(*arguments: str, binary: Path = BINARY, **settings: str) -> subprocess.CompletedProcess:
    """A command of the product that ends by itself."""
    inherited = {name: value for name, value in environment_without_aws().items() if not name.startswith("HANSARD_")}
    return subprocess.run(
        [binary, *arguments], env=inherited | settings, capture_output=True, text=True, timeout=COMMAND_SECONDS
    )


def wait_until_known(key: str, nodes: list) -> None:
    """Until each of these nodes knows a key that was made a moment ago."""
    for node in nodes:
        wait_until(lambda: node.get("/v1/transcripts", key).status_code == 200, 10, "the key is known")


def metric(node, name: str) -> float:
    (line,) = [one for one in node.metrics().splitlines() if one.startswith(f"{name} ")]
    return float(line.split()[1])


def said(node, *words: str) -> list[dict]:
    """The log's warnings and errors that hold these words."""
    records = [record for record in node.log_records() if record.get("level") in ("warning", "error", "critical")]
    return [record for record in records if all(word.lower() in str(record).lower() for word in words)]


def is_reachable(node, store: str) -> bool:
    """What the node's metrics say of a store: connections, transcripts or usage."""
    (line,) = [one for one in node.metrics().splitlines() if one.startswith(f'hansard_store_reachable{{store="{store}"}}')]
    return float(line.split()[-1]) == 1


def wait_until_reachable(node, store: str, reachable: bool = True, seconds: float = 30) -> None:
    meaning = "reachable" if reachable else "away"
    wait_until(lambda: is_reachable(node, store) is reachable, seconds, f"the metrics say that {store} is {meaning}")


def state_of(fleet: Fleet, table: State, session: str) -> str | None:
    return table.state(session, fleet.tenant)


def wait_for_state(fleet: Fleet, table: State, session: str, state: str, seconds: float = 30) -> None:
    wait_until(lambda: state_of(fleet, table, session) == state, seconds, f"session {session} is {state}")


def check_quiet(fleet: Fleet, table: State, seconds: float = 30) -> None:
    """No slot is held, by items and by the counter."""
    wait_until(lambda: not table.all_leases() and table.counter(fleet.tenant) == 0, seconds, "no slot is held")
