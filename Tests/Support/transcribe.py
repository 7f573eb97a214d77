"""Amazon Transcribe Streaming played by Tests/StandIns/transcribe: a process of our own on 127.0.0.1, and its orders.

What `fault` and `change` may be given is said by `Fault` and `Settings` in StandIns.transcribe.
"""

import ipaddress
import json
import select
import signal
import subprocess
import sys
import tempfile
from datetime import datetime, timedelta, timezone
from pathlib import Path

import requests
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from aws_emulators import REGION, AccessKey, aws_environment, environment_without_aws
from places import PROJECT, STAND_INS
from processes import wait_until
from server import free_port

TESTS = PROJECT / "Tests"
# Outside of pytest nothing else leads there.
if str(TESTS) not in sys.path:
    sys.path.append(str(TESTS))

# For those who import this module.
from StandIns.transcribe.blocks import indexed_audio, indexed_words  # noqa: E402, F401
from StandIns.transcribe.hearing import interleaved  # noqa: E402, F401

START_SECONDS = 60
STOP_SECONDS = 15

KEY = AccessKey("AKIATRANSCRIBE000001", "the-secret-of-the-one-who-transcribes")
TEMPORARY_KEY = AccessKey("ASIATRANSCRIBE000002", "the-secret-of-a-role", "the/token+of==a-role")


class TranscribeStandIn:
    """One stand-in. May be stopped and started again on the same ports; what it was told and saw is then gone."""

    keys = (KEY, TEMPORARY_KEY)

    def __init__(self, certificate: "Certificate | None" = None, region: str = REGION, **settings):
        self.region = region
        self.settings = {"region": region, **settings}
        self.certificate = certificate
        # In `url`; it listens on 127.0.0.1 alone.
        self.host = certificate.names[0] if certificate else "127.0.0.1"
        self.port = 0
        self.control_port = 0
        self.subprocess: subprocess.Popen | None = None
        self._folder = tempfile.TemporaryDirectory(prefix="hansard-transcribe-")
        self.log_path = Path(self._folder.name) / "log"
        self._http = requests.Session()
        self._http.trust_env = False

    # Life

    def start(self) -> "TranscribeStandIn":
        with self.log_path.open("ab") as log:
            self.subprocess = subprocess.Popen(
                self._command(),
                cwd=TESTS,
                env=environment_without_aws() | {"PYTHONWARNINGS": "ignore::DeprecationWarning"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        ready, _, _ = select.select([self.subprocess.stdout], [], [], START_SECONDS)
        line = self.subprocess.stdout.readline() if ready else ""
        assert line, f"the stand-in has not started; its log:\n{self.log()[-3000:]}"
        ports = json.loads(line)
        self.port, self.control_port = ports["port"], ports["control_port"]
        return self

    def _command(self) -> list[str]:
        command = [sys.executable, "-m", "StandIns.transcribe", "--settings", json.dumps(self.settings)]
        command += ["--port", str(self.port), "--control-port", str(self.control_port)]
        for key in self.keys:
            command += ["--key", key.id, key.secret] + ([key.token] if key.token else [])
        if self.certificate:
            command += ["--certificate", str(self.certificate.chain), "--certificate-key", str(self.certificate.key)]
        return command

    def stop(self) -> int:
        """Ends the process, and with it all streams; connections are refused from now on. Returns its exit status."""
        if self.subprocess is None:
            return 0
        if self.subprocess.poll() is None:
            self.subprocess.send_signal(signal.SIGTERM)
            try:
                self.subprocess.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                self.subprocess.kill()
                self.subprocess.wait()
        self.subprocess.stdout.close()
        return self.subprocess.returncode

    def clean_up(self) -> None:
        self.stop()
        self._http.close()
        self._folder.cleanup()

    def __enter__(self) -> "TranscribeStandIn":
        try:
            return self.start()
        except BaseException:
            self.clean_up()
            raise

    def __exit__(self, *_) -> None:
        self.clean_up()

    def log(self) -> str:
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    @property
    def url(self) -> str:
        """As the product's setting has it: http means ws, https means wss."""
        return f"{'https' if self.certificate else 'http'}://{self.host}:{self.port}"

    def environment(self, key: AccessKey = KEY) -> dict[str, str]:
        """Settings with which the product finds this stand-in and is known to it."""
        settings = aws_environment(self.url, key, self.region)
        settings["AWS_ENDPOINT_URL_TRANSCRIBE_STREAMING"] = settings.pop("AWS_ENDPOINT_URL")
        return settings

    # Orders

    def fault(self, action: str, **order) -> dict:
        """Orders a fault, for example `fault("close", at=2.5, stream=1)`; its `id` finds it in `faults()`."""
        return self._ask("POST", "/faults", {"action": action, **order})

    def faults(self) -> list[dict]:
        return self._ask("GET", "/faults")

    def clear_faults(self) -> None:
        self._ask("DELETE", "/faults")

    def change(self, **settings) -> None:
        """Changes settings for streams to come."""
        self._ask("PATCH", "/settings", settings)

    def reset(self) -> None:
        """Resets all connections, and forgets all that was ordered, changed and seen."""
        self._ask("POST", "/reset")

    # What it saw

    def streams(self) -> list[dict]:
        """A report of each handshake since the start or the last reset."""
        return self._ask("GET", "/streams")

    def stream(self, number: int) -> dict:
        """The report of the n-th handshake, counted from 1."""
        return self._ask("GET", f"/streams/{number}")

    def ended_stream(self, number: int = 1, seconds: float = 30) -> dict:
        """The same, as soon as the stream has ended."""

        def report() -> dict | None:
            seen = self.streams()
            return seen[number - 1] if len(seen) >= number and seen[number - 1]["ended"] else None

        return wait_until(report, seconds, f"stream {number} has ended")

    def all_ended(self, seconds: float = 30) -> list[dict]:
        """All reports, as soon as no stream lives."""
        return wait_until(
            lambda: (seen := self.streams()) and all(one["ended"] for one in seen) and seen,
            seconds,
            "all streams have ended",
        )

    def _ask(self, method: str, path: str, body: dict | None = None):
        answer = self._http.request(method, f"http://127.0.0.1:{self.control_port}{path}", json=body, timeout=40)
        assert answer.status_code == 200, f"{method} {path}: {answer.text}"
        return answer.json()


class TranscribeLoad:
    """Tests/StandIns/transcribe_load.c at work: it only frames and counts, and answers so often per second of audio."""

    def __init__(self, partial_ms: int = 500, final_ms: int = 5000, bytes_per_second: int = 32_000):
        self.port = free_port()
        self.subprocess = subprocess.Popen(
            [STAND_INS / "transcribe_load", *map(str, (self.port, partial_ms, final_ms, bytes_per_second))],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        line = self.subprocess.stdout.readline()
        assert line == "listening\n", f"transcribe_load has not started: {line!r}"

    @property
    def pid(self) -> int:
        return self.subprocess.pid

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def counters(self) -> dict[str, int]:
        """All since its start: opened, open, frames, bytes, audio_bytes, partials, finals, ended, invalid, unsent."""
        self.subprocess.send_signal(signal.SIGUSR1)
        return json.loads(self.subprocess.stdout.readline())

    def stop(self) -> dict[str, int]:
        """Ends it; the counters are its last."""
        self.subprocess.send_signal(signal.SIGTERM)
        self.subprocess.wait(STOP_SECONDS)
        with self.subprocess.stdout as output:
            return json.loads(output.readlines()[-1])

    def __enter__(self) -> "TranscribeLoad":
        return self

    def __exit__(self, *_) -> None:
        if self.subprocess.poll() is None:
            self.stop()


def words_of(results: list[dict]) -> list[str]:
    """The words in the service's results, one after the other, without punctuation."""
    return [item["Content"] for item in items_of(results)]


def items_of(results: list[dict]) -> list[dict]:
    items = (item for result in results for item in result["Alternatives"][0]["Items"])
    return [item for item in items if item["Type"] == "pronunciation"]


class Certificate:
    """For these names or addresses, signed by an authority of its own; `authority`, `chain` and `key` are PEM files."""

    def __init__(self, folder: Path, *names: str, expired: bool = False):
        self.names = names
        self.authority, self.chain, self.key = (folder / f"{names[0]}-{part}.pem" for part in ("ca", "cert", "key"))
        root_key, leaf_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
        root_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "An authority of these tests")])
        leaf_name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        # The authority stays valid, so that an expired certificate is refused for that reason alone.
        root = _unsigned(root_name, root_name, root_key, expired=False).add_extension(
            x509.BasicConstraints(ca=True, path_length=0), critical=True
        )
        alternatives = x509.SubjectAlternativeName(list(map(_general_name, names)))
        leaf = _unsigned(leaf_name, root_name, leaf_key, expired).add_extension(alternatives, critical=False)
        root, leaf = root.sign(root_key, hashes.SHA256()), leaf.sign(root_key, hashes.SHA256())
        self.authority.write_bytes(root.public_bytes(serialization.Encoding.PEM))
        self.chain.write_bytes(leaf.public_bytes(serialization.Encoding.PEM))
        self.key.write_bytes(
            leaf_key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _unsigned(subject: x509.Name, issuer: x509.Name, key, expired: bool) -> x509.CertificateBuilder:
    now = datetime.now(timezone.utc)
    until = now - timedelta(days=1) if expired else now + timedelta(days=30)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=60))
        .not_valid_after(until)
    )
