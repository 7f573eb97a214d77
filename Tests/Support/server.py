"""A `hansard dev` of our own: started on a free port with its own state folder, ended by process id."""

import json
import os
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import requests

from database import Database
from places import BINARY, environment_without_proxies
from processes import Process, process, tree, wait_until

START_SECONDS = 90
STOP_SECONDS = 40


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def make_state_dir() -> Path:
    """Short, because a Unix socket's path may have 107 bytes; open to the system user that runs Postgres for root."""
    folder = Path(tempfile.mkdtemp(prefix="hansard-", dir="/tmp"))
    folder.chmod(0o755)
    return folder


class Server:
    """One `hansard dev`. May be stopped, killed and started again on the same state folder and port."""

    subcommand = "dev"

    def __init__(self, binary: Path = BINARY, **settings: str):
        self.binary = binary
        self.folder = make_state_dir()
        self.state_dir = self.folder / "state"
        self.log_path = self.folder / "server.log"
        self.port = free_port()
        self.settings = {
            "HANSARD_LISTEN": f"127.0.0.1:{self.port}",
            "HANSARD_STATE_DIR": str(self.state_dir),
            **settings,
        }
        self.subprocess: subprocess.Popen | None = None
        self.seen: set[Process] = set()

    # Life

    def start(self) -> "Server":
        assert self.binary.exists(), f"{self.binary} is missing: `make build` makes it"
        inherited = {n: v for n, v in environment_without_proxies().items() if not n.startswith(("HANSARD_", "AWS_"))}
        with self.log_path.open("ab") as log:
            self.subprocess = subprocess.Popen(
                [self.binary, self.subcommand],
                cwd=self.folder,
                env=inherited | self.settings,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self.is_ready, START_SECONDS, f"the server is ready; its log ends:\n{self.log()[-3000:]}")
        self.note_processes()
        return self

    def is_ready(self) -> bool:
        if self.subprocess.poll() is not None:
            raise AssertionError(f"the server ended with {self.subprocess.returncode}; its log:\n{self.log()[-3000:]}")
        try:
            return self.get("/readyz").status_code == 200
        except requests.ConnectionError:
            return False

    @property
    def pid(self) -> int:
        return self.subprocess.pid

    def note_processes(self) -> None:
        """Remembers what the server has started so far: once it is dead, its children are no longer its children."""
        self.seen.update(tree(self.pid))
        for postmaster in self.state_dir.rglob("postmaster.pid"):
            if one := process(int(postmaster.read_text().split()[0])):
                self.seen.update(tree(one.pid))

    def stop(self) -> int:
        """Ends it as an operator would; returns its exit status."""
        self.note_processes()
        self.subprocess.send_signal(signal.SIGTERM)
        return self.subprocess.wait(STOP_SECONDS)

    def kill(self) -> None:
        """Ends it as a power failure would, its Postgres excepted."""
        self.note_processes()
        self.subprocess.kill()
        self.subprocess.wait()

    def survivors(self) -> list[Process]:
        return [one for one in self.seen if one.is_alive()]

    def clean_up(self) -> None:
        if self.subprocess and self.subprocess.poll() is None:
            try:
                self.stop()
            except subprocess.TimeoutExpired:
                self.kill()
        for one in self.survivors():
            one.kill()
        subprocess.run(["rm", "-rf", "--", self.folder], check=True)

    def __enter__(self) -> "Server":
        try:
            return self.start()
        except BaseException:
            self.clean_up()
            raise

    def __exit__(self, *_) -> None:
        self.clean_up()

    # What it says

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def dev_env(self) -> dict[str, str]:
        """The settings that `hansard dev` wrote for its user."""
        lines = (self.state_dir / "dev.env").read_text().splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines if "=" in line and line[0] != "#")
        return {name: value.strip("'\"") for name, value in pairs}

    @property
    def key(self) -> str:
        return self.dev_env["HANSARD_API_KEY"]

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def log_records(self) -> list[dict]:
        """Its JSON log lines; what `dev` prints for people is skipped."""
        return [json.loads(line) for line in self.log().splitlines() if line.startswith("{")]

    # What it knows

    def get(self, path: str, key: str | None = None, **parameters: str) -> requests.Response:
        headers = {"Authorization": f"Token {key}"} if key else {}
        with requests.Session() as session:
            session.trust_env = False
            return session.get(self.url + path, headers=headers, params=parameters, timeout=20)

    def post(self, path: str, body: dict | None, authorization: str | None) -> requests.Response:
        headers = {"Authorization": authorization} if authorization else {}
        with requests.Session() as session:
            session.trust_env = False
            return session.post(self.url + path, headers=headers, json=body, timeout=20)

    def transcript(self, session_id: str, seconds: float = 30) -> dict:
        """A session's stored transcript, as soon as it is there."""
        path = f"/v1/transcripts/{session_id}"
        answer = wait_until(
            lambda: (got := self.get(path, self.key)).status_code == 200 and got, seconds, f"{path} is stored"
        )
        return answer.json()

    def metrics(self) -> str:
        answer = self.get("/metrics")
        assert answer.status_code == 200, answer.text
        return answer.text

    def database(self) -> Database:
        return Database.of(self)

    def end_of(self, session_id: str, seconds: float = 30) -> str:
        """The state in which a session ended, as soon as it has ended."""
        ends = ("completed", "interrupted", "failed", "terminated")
        database = self.database()
        return wait_until(
            lambda: (state := database.session_state(session_id)) in ends and state,
            seconds,
            f"session {session_id} has ended",
        )

    def usage(self, session_id: str, seconds: float = 30) -> dict[str, int]:
        """The session's usage row; it follows the session's end in a batch."""
        database = self.database()
        return wait_until(lambda: database.usage(session_id), seconds, f"the usage of {session_id} is recorded")

    def wait_for_quiet(self, seconds: float = 30) -> None:
        """Waits until no session is held by anyone."""
        database = self.database()
        wait_until(lambda: database.active_sessions() == 0, seconds, "no session is active")




def is_root() -> bool:
    return os.geteuid() == 0
