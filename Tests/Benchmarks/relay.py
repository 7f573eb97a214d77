"""What relaying costs: the same clients' audio through Hansard and through nginx to the same peer, which plays Amazon
Transcribe (Tests/StandIns/transcribe_load.c), in turns within one run. nginx copies bytes; Hansard checks, meters, frames
and keeps what may have to be sent again. The ratio is what carries over to other machines."""

import contextlib
import statistics
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from listen import ListenSession, LINEAR16
from gateway import Load, accepts
from places import RELEASE_BINARY
from processes import cpu_seconds, resident_bytes, wait_until
from server import Server, free_port
from StandIns.transcribe import events
from transcribe import TranscribeLoad
from transcribe_client import DEFAULTS, presigned_url
from websockets.sync.client import connect

STREAMS, SECONDS, ROUNDS = 500, 8, 3
FRAMES = [("100 ms", 3200, 100), ("20 ms", 640, 20)]
MOST_STREAMS = [1000, 1500, 2000]
LATENCY_STREAMS, LATENCY_SAMPLES = 100, 100
KEPT_PACE = 0.95

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log warn;
events {{ worker_connections 10000; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{
      proxy_pass http://127.0.0.1:{peer}; proxy_http_version 1.1; proxy_read_timeout 60s;
      proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection "upgrade"; proxy_set_header Host $host;
    }}
  }}
}}
"""


@contextlib.contextmanager
def nginx(peer: int):
    """Its worker's process id, and its port."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=port, peer=peer))
        process = subprocess.Popen(["nginx", "-p", folder, "-c", config], stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: accepts(port), 10, "nginx listens")
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
            yield int(children[0]), port
        finally:
            process.terminate()
            process.wait(10)


def relay_cost(pid: int, port: int, key: str, load: TranscribeLoad, streams: int, frame, *kind: str):
    """Microseconds of CPU per message of a client, the part of the audio that arrived in time, and bytes per stream."""
    _, size, interval_ms = frame
    before_bytes = resident_bytes(pid)
    clients = Load(port, key, streams, size, interval_ms, SECONDS * 1000 // interval_ms, *kind)
    began_audio = load.counters()["audio_bytes"]
    before, began = cpu_seconds(pid), time.monotonic()
    sent = clients.wait_sent()
    used, took = cpu_seconds(pid) - before, time.monotonic() - began
    wait_for_audio(load, began_audio + sent * size)
    delivered = (load.counters()["audio_bytes"] - began_audio) / (sent * size)
    memory = (resident_bytes(pid) - before_bytes) / streams
    clients.end()
    time.sleep(2)
    return used / sent * 1e6, delivered, SECONDS / took, memory


def wait_for_audio(load: TranscribeLoad, audio_bytes: int) -> None:
    """What is on its way may arrive a second later."""
    for _ in range(40):
        if load.counters()["audio_bytes"] >= audio_bytes:
            return
        time.sleep(0.05)


def latencies(send, partials, began_at: float) -> list[float]:
    """Milliseconds from the message that a partial answers to the partial, one after the other."""
    found = []
    for number in range(LATENCY_SAMPLES):
        for chunk in range(5):
            wait = began_at + (number * 5 + chunk) * 0.1 - time.monotonic()
            if wait > 0:
                time.sleep(wait)
            sent_at = time.monotonic()
            send()
        seen = partials(number + 1)
        found.append((seen - sent_at) * 1000)
    return found


def latency_through(server: Server) -> list[float]:
    with ListenSession(server, dict(LINEAR16, interim_results="true", endpointing="false")) as session:

        def partials(number: int) -> float:
            wait_until(lambda: len(session.messages("Results")) >= number, 10, "a result comes")
            return [one.at for one in session.received if one.message["type"] == "Results"][number - 1]

        return latencies(lambda: session.send(bytes(3200)), partials, time.monotonic())


def latency_direct(load: TranscribeLoad) -> list[float]:
    seen: list[float] = []
    message = events.audio_event(bytes(3200))
    with connect(presigned_url(load.url, DEFAULTS), proxy=None) as socket:
        threading.Thread(target=lambda: [seen.append(time.monotonic()) for _ in socket], daemon=True).start()

        def partials(number: int) -> float:
            wait_until(lambda: len(seen) >= number, 10, "a result comes")
            return seen[number - 1]

        return latencies(lambda: socket.send(message), partials, time.monotonic())


def percentiles(values: list[float]) -> tuple[float, float]:
    ordered = sorted(values)
    return statistics.median(ordered), ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]


def main() -> None:
    with TranscribeLoad() as load:
        peer = int(load.url.rsplit(":", 1)[1])
        environment = {
            "HANSARD_ENGINE": "amazon-transcribe", "HANSARD_EVENT_LOOPS": "1", "AWS_REGION": "eu-west-1",
            "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_ENDPOINT_URL_TRANSCRIBE_STREAMING": load.url, "HANSARD_LOG_LEVEL": "warning",
        }
        with Server(RELEASE_BINARY, **environment) as server, nginx(peer) as (proxy, port):
            print(f"Relaying to Amazon Transcribe, {STREAMS} streams, beside nginx; each the median of {ROUNDS} turns")
            print(f"{'message':<10} {'nginx us':>9} {'hansard us':>11} {'ratio':>6} {'delivered':>10} {'kept pace':>10}")
            for frame in FRAMES:
                ours, theirs = [], []
                for _ in range(ROUNDS):
                    theirs.append(relay_cost(proxy, port, "none", load, STREAMS, frame, "event-stream"))
                    ours.append(relay_cost(server.pid, server.port, server.key, load, STREAMS, frame))
                one, other = (statistics.median(cost[0] for cost in costs) for costs in (theirs, ours))
                delivered = min(cost[1] for cost in ours + theirs)
                pace = min(cost[2] for cost in ours)
                print(f"{frame[0]:<10} {one:9.1f} {other:11.1f} {other / one:6.2f} {delivered:10.2%} {pace:10.2%}")
                if frame is FRAMES[0]:
                    memory = [statistics.median(cost[3] for cost in costs) for costs in (theirs[:1], ours[:1])]
            print(f"bytes per live stream: nginx {memory[0]:,.0f}, hansard {memory[1]:,.0f}")
            most = 0
            for streams in MOST_STREAMS:
                _, delivered, pace, _ = relay_cost(server.pid, server.port, server.key, load, streams, FRAMES[0])
                print(f"{streams} streams of 100 ms messages: delivered {delivered:.2%}, pace {pace:.2%}")
                if delivered < 1 or pace < KEPT_PACE:
                    break
                most = streams
            print(f"the most streams tried that all kept pace: {most or STREAMS}")
            clients = Load(server.port, server.key, LATENCY_STREAMS, 3200, 100, 10 * LATENCY_SAMPLES)
            direct, through = percentiles(latency_direct(load)), percentiles(latency_through(server))
            clients.end()
            print(
                f"a partial after its audio, {LATENCY_STREAMS} other streams: direct p50 {direct[0]:.2f} ms, p99 "
                f"{direct[1]:.2f} ms; through p50 {through[0]:.2f} ms, p99 {through[1]:.2f} ms; added p50 "
                f"{through[0] - direct[0]:.2f} ms, p99 {through[1] - direct[1]:.2f} ms"
            )
    print()


if __name__ == "__main__":
    main()
