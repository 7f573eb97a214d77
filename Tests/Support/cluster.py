"""A Postgres cluster that belongs to a test, for tests that take it away from a running server."""

import contextlib
import os
import pwd
import subprocess
from collections.abc import Iterator
from pathlib import Path

from server import make_state_dir

PROGRAMS = Path("/usr/lib/postgresql/15/bin")
# As whom nodes log in: a member of hansard_app, which owns nothing.
NODE_ROLE = "hansard_test_node"


class Cluster:
    """Listens on a Unix socket in its own folder; run as the postgres system user if we are root."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None):
        """The environment is added to what its programs run in."""
        self.folder = folder
        self.environment = environment or {}
        self.data = folder / "data"
        self.user = "postgres" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        folder.mkdir()
        if os.geteuid() == 0:
            account = pwd.getpwnam(self.user)
            os.chown(folder, account.pw_uid, account.pw_gid)
        # Trust is enough: nobody else reaches the socket's folder while the test runs.
        self._run("initdb", "-D", self.data, "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync")

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def start(self) -> None:
        options = f"-c listen_addresses= -c unix_socket_directories={self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "log", "-w", "-o", options, "start")

    def stop(self) -> None:
        """Ends it at once, connections included."""
        if (self.data / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self.data, "-m", "fast", "-w", "stop")

    def _run(self, program: str, *arguments) -> None:
        command = [str(PROGRAMS / program), *map(str, arguments)]
        if os.geteuid() == 0:
            command = ["runuser", "-u", self.user, "--", *command]
        environment = os.environ | self.environment
        # pg_ctl's child keeps the output open, so it must not be a pipe that we would read to its end.
        output = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        done = subprocess.run(command, cwd="/", env=environment, timeout=60, **output)
        assert done.returncode == 0, command


@contextlib.contextmanager
def running_cluster(environment: dict[str, str] | None = None) -> Iterator[Cluster]:
    """One that is there for as long as it is needed."""
    folder = make_state_dir()
    cluster = Cluster(folder / "cluster", environment)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.stop()
        subprocess.run(["rm", "-rf", "--", folder], check=True)
