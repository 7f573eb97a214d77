"""openapi.yaml against a server, by schemathesis: whatever the document allows or forbids, and every check that it has."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from contract import DOCUMENT
from operators import Operator
from places import environment_without_proxies

FOLDER = Path(__file__).parent
SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")


def run(server, folder: Path, examples: int, least_cases: int, seconds: int) -> None:
    owner = Operator.owner(server)
    environment = environment_without_proxies() | {
        "HANSARD_ADMIN_TOKEN": owner.token,
        "HANSARD_API_KEY": server.key,
        # What the run stands on; see contract_hooks.py.
        "HANSARD_OWN_TOKEN": owner.call("GET", "/v1/admin/tokens").json()["data"][0]["id"],
        "HANSARD_OWN_TENANT": owner.call("GET", "/v1/admin/tenants?name=demo").json()["data"][0]["id"],
        "SCHEMATHESIS_HOOKS": str(FOLDER / "contract_hooks.py"),
    }
    # A run can be had again: HANSARD_CONTRACT_SEED is the seed that a failed one prints.
    seed = os.environ.get("HANSARD_CONTRACT_SEED", "1")
    command = [SCHEMATHESIS, "--config-file", FOLDER / "schemathesis.toml", "run", DOCUMENT, "--url", server.url]
    command += ["--checks", "all", "--max-examples", str(examples), "--seed", seed, "--no-color"]
    command += ["--report", "json", "--report-json-path", folder / "report.json"]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=seconds)
    (folder / "schemathesis.log").write_text(done.stdout)
    assert done.returncode == 0, done.stdout[-20_000:] + done.stderr[-2_000:]
    report = json.loads((folder / "report.json").read_text())
    assert {name: phase["status"] for name, phase in report["phases"].items()} == dict.fromkeys(
        ("examples", "coverage", "fuzzing", "stateful"), "success"
    )
    assert report["operations"]["selected"] == report["operations"]["total"] - 1, "all but the WebSocket handshake"
    print(f"{report['test_cases']['generated']} cases in {report['running_time']:.0f} s")
    assert report["test_cases"]["generated"] >= least_cases
    assert server.get("/healthz").status_code == 200
    assert owner.call("GET", "/v1/admin/audit/verify").json()["is_intact"]


def test_the_server_keeps_its_contract(own_server, tmp_path):
    run(own_server(), tmp_path, examples=3, least_cases=500, seconds=240)


@pytest.mark.long
def test_the_server_keeps_its_contract_for_long(own_server, tmp_path):
    run(own_server(), tmp_path, examples=150, least_cases=5_000, seconds=1_500)
