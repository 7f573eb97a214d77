"""AWS by people who did not write this product: ministack and moto, each a process of our own on 127.0.0.1.

ministack's transactions are atomic, and it checks signatures, tokens, clocks and whole policies (resources and
conditions too); it also plays STS, the instance metadata service and the ECS credentials endpoint. moto's transactions
are not atomic between threads; it is a second opinion on formats, signatures and the actions of policies.
"""

import json
import signal
import subprocess
import sys
import tempfile
import threading
import urllib.error
import urllib.request
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import boto3
from botocore.config import Config

from places import environment_without_proxies
from processes import wait_until
from server import free_port

REGION = "eu-west-1"
START_SECONDS = 60
STOP_SECONDS = 10


@dataclass(frozen=True)
class AccessKey:
    """Who signs, as IAM or STS gave it."""

    id: str
    secret: str
    token: str | None = None

    def environment(self) -> dict[str, str]:
        token = {"AWS_SESSION_TOKEN": self.token} if self.token else {}
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret} | token


def environment_without_aws() -> dict[str, str]:
    """This process's environment without its proxies and without whatever AWS account its user works with."""
    return {name: value for name, value in environment_without_proxies().items() if not name.startswith("AWS_")}


def aws_environment(url: str, key: AccessKey | None = None, region: str = REGION) -> dict[str, str]:
    """Settings with which an AWS SDK, or the product, calls this endpoint and finds no credentials but these."""
    neutral = {"AWS_CONFIG_FILE": "/dev/null", "AWS_SHARED_CREDENTIALS_FILE": "/dev/null"}
    no_metadata = {} if key is None else {"AWS_EC2_METADATA_DISABLED": "true"}
    found = key.environment() if key else {}
    return neutral | no_metadata | found | {"AWS_REGION": region, "AWS_ENDPOINT_URL": url}


_making = threading.Lock()


@cache
def _session() -> boto3.session.Session:
    """One for all clients: it reads the services' models once. Clients may be shared by threads, it may not."""
    return boto3.session.Session()


class Emulator:
    """A process that plays AWS. May be stopped and started again on the same port; what it held is then gone."""

    # For tests alone: whoever has this key may do anything, and the emulators do not even look at its signatures.
    root: AccessKey
    account: str

    def __init__(self):
        self.port = free_port()
        self.subprocess: subprocess.Popen | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="hansard-aws-")
        self.folder = Path(self._folder.name)

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _environment(self) -> dict[str, str]:
        raise NotImplementedError

    def reset(self) -> None:
        """Forgets everything it was told."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log_path(self) -> Path:
        return self.folder / "log"

    def start(self) -> "Emulator":
        with self.log_path.open("ab") as log:
            self.subprocess = subprocess.Popen(
                self._command(),
                cwd=self.folder,
                env=environment_without_aws() | self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(self._is_ready, START_SECONDS, f"{self._command()} is ready")
        return self

    def _is_ready(self) -> bool:
        if (status := self.subprocess.poll()) is not None:
            raise AssertionError(f"the emulator ended with {status}; its log ends:\n{self.log()[-3000:]}")
        try:
            self.request("GET", self._ready_path)
            return True
        except (urllib.error.URLError, ConnectionError):
            return False

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    def stop(self) -> None:
        """Ends the process; connections to it are refused from now on."""
        if self.subprocess is None or self.subprocess.poll() is not None:
            return
        self.subprocess.send_signal(signal.SIGTERM)
        try:
            self.subprocess.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.subprocess.kill()
            self.subprocess.wait()

    def clean_up(self) -> None:
        self.stop()
        self._folder.cleanup()

    def __enter__(self) -> "Emulator":
        try:
            return self.start()
        except BaseException:
            self.clean_up()
            raise

    def __exit__(self, *_) -> None:
        self.clean_up()

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> bytes:
        """A plain request to the emulator's own interface, or to those of AWS that are not signed."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        asked = urllib.request.Request(self.url + path, body, named, method=method)
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(asked, timeout=20) as answer:
            return answer.read()

    def environment(self, key: AccessKey, region: str = REGION) -> dict[str, str]:
        """Settings with which the product calls this emulator as a user."""
        return aws_environment(self.url, key, region)

    def client(
        self, service: str, key: AccessKey | None = None, region: str = REGION, url: str | None = None, **config
    ):
        """A boto3 client that asks once and waits briefly, unless it is configured otherwise."""
        key = key or self.root
        settings = {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 20, "proxies": {}}
        with _making:
            return _session().client(
                service,
                region_name=region,
                endpoint_url=url or self.url,
                aws_access_key_id=key.id,
                aws_secret_access_key=key.secret,
                aws_session_token=key.token,
                config=Config(**(settings | config)),
            )


class Ministack(Emulator):
    """ministack. With `checks` it refuses what AWS refuses: signatures, tokens, clocks 15 minutes off, policies."""

    root = AccessKey("AKIAROOTROOTROOTROOT", "the-root-secret-of-an-emulator")
    account = "000000000000"
    _ready_path = "/_ministack/ready"

    def __init__(self, checks: bool = True):
        super().__init__()
        self.checks = checks

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "ministack"]

    def _environment(self) -> dict[str, str]:
        return self.root.environment() | {
            "AUTH": "true" if self.checks else "false",
            "BIND_HOST": "127.0.0.1",
            "GATEWAY_PORT": str(self.port),
            # BIND_HOST is not for these two, which would listen on every address.
            "IOT_MTLS_ENABLED": "0",
            "SFTP_ENABLED": "0",
            # It removes containers that look like its own when it starts and when it ends.
            "DOCKER_HOST": "unix:///nonexistent",
            "LOG_LEVEL": "WARNING",
            "MINISTACK_ACCOUNT_ID": self.account,
            "MINISTACK_IMDS_V2_REQUIRED": "1",
            "MINISTACK_REGION": REGION,
            "SERVICES": "dynamodb,s3,iam,sts,imds",
            "TMPDIR": str(self.folder),
        }

    def reset(self) -> None:
        assert json.loads(self.request("POST", "/_ministack/reset", b"")) == {"reset": "ok"}


class Moto(Emulator):
    """moto's server. `enforce()` makes it check signatures and policies, which it does not do at first."""

    root = AccessKey("root", "moto-does-not-look-at-it")
    account = "123456789012"
    _ready_path = "/moto-api/data.json"

    def _command(self) -> list[str]:
        return [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]

    def _environment(self) -> dict[str, str]:
        return {"MOTO_ACCOUNT_ID": self.account, "INITIAL_NO_AUTH_ACTION_COUNT": "inf"}

    def enforce(self, on: bool = True) -> None:
        """From now on every request is checked, or none is. Nobody is root while requests are checked."""
        self.request("POST", "/moto-api/reset-auth", b"0" if on else b"inf", Content_Type="text/plain")

    def reset(self) -> None:
        self.enforce(False)
        self.request("POST", "/moto-api/reset", b"")
