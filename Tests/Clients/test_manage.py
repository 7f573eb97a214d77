"""Deepgram's SDK reads projects, usage and requests, unmodified."""

import json
import subprocess
from dataclasses import replace

import pytest

import sdk
from contract import operation
from database import Database
from ledger import ingest, speak, utc
from listen import ListenSession
from operators import Operator
from places import environment_without_proxies, sdk_python
from processes import wait_until

VERSION = "7.17.0"


def run(server, key: str, project: str | None = None) -> dict[str, dict]:
    """What each call gave, by its name."""
    interpreter = sdk_python(VERSION)
    assert interpreter.exists(), f"{interpreter} is missing: `make sdks` makes it"
    command = [interpreter, sdk.DRIVERS / "manage.py", "--url", server.url, "--key", key]
    command += ["--project", project] if project else []
    done = subprocess.run(
        command, env=environment_without_proxies(), capture_output=True, text=True, timeout=sdk.RUN_SECONDS)
    assert done.returncode == 0, done.stderr
    return {line["call"]: line for line in map(json.loads, done.stdout.splitlines())}


@pytest.fixture(scope="module")
def customer(synthetic_server):
    """A tenant with usage of two keys, and with two sessions that are over."""
    owner = Operator.owner(synthetic_server)
    tenant = owner.tenant("Acme")
    key = owner.key(tenant)
    records = speak(tenant, 1, utc(2026, 1, 31, 23), 90, tags=["a", "b"], key=key["id"])
    # After the end of the month it is another part.
    records = records[:60] + [replace(one, segment=1, audio=one.audio - 1_800_000) for one in records[60:]]
    records += speak(tenant, 2, utc(2026, 2, 1, 10), 6, model="nova-3", key="key_2")
    ingest(Database.of(synthetic_server), records)
    holder = Operator(synthetic_server, key["key"])
    for _ in range(2):
        with ListenSession(synthetic_server, key=key["key"]) as session:
            session.send(bytes(64_000))
            session.finish()
    wait_until(
        lambda: len(holder.call("GET", "/v1/sessions?status=past").json()["data"]) == 2, 20, "they are among the past ones")
    return tenant, key, holder


@pytest.fixture(scope="module")
def calls(synthetic_server, customer):
    return run(synthetic_server, customer[1]["key"])


def test_the_project_is_the_tenant(calls, customer):
    expected = {"project_id": customer[0], "name": "Acme"}
    (listed,) = calls["projects.list"]["value"]["projects"]
    assert listed.items() >= expected.items() and calls["projects.get"]["value"].items() >= expected.items()


def test_every_answer_is_what_the_sdk_expects(calls):
    types = {name: line["type"] for name, line in calls.items() if "type" in line}
    assert types == {
        "projects.list": "ListProjectsV1Response",
        "projects.get": "GetProjectV1Response",
        "usage.get": "UsageV1Response",
        "usage.get all": "UsageV1Response",
        "usage.breakdown.get": "UsageBreakdownV1Response",
        "usage.breakdown.get accessor": "UsageBreakdownV1Response",
        "usage.breakdown.get models": "UsageBreakdownV1Response",
        "usage.breakdown.get tags": "UsageBreakdownV1Response",
        "usage.breakdown.get speak": "UsageBreakdownV1Response",
        "usage.fields.list": "UsageFieldsV1Response",
        "requests.list": "ListProjectRequestsV1Response",
        "requests.list page": "ListProjectRequestsV1Response",
        "requests.get": "GetProjectRequestV1Response",
    }


def groups(calls, name: str, field: str) -> dict:
    results = calls[f"usage.breakdown.get{name}"]["value"]["results"]
    return {
        (one["grouping"]["start"], str(one["grouping"].get(field))): (one["hours"], one["requests"]) for one in results
    }


def test_hours_and_requests(calls, customer):
    breakdown = calls["usage.breakdown.get"]["value"]
    assert (breakdown["start"], breakdown["end"]) == ("2026-01-31", "2026-02-02")
    assert breakdown["resolution"] == {"units": "day", "amount": 1}
    assert groups(calls, "", "accessor") == {("2026-01-31", "None"): (0.5, 1), ("2026-02-01", "None"): (0.3, 1)}
    assert all(one["hours"] == one["total_hours"] for one in breakdown["results"])
    assert groups(calls, " accessor", "accessor") == {
        ("2026-01-31", customer[1]["id"]): (0.5, 1), ("2026-02-01", customer[1]["id"]): (0.25, 0),
        ("2026-02-01", "key_2"): (0.05, 1),
    }  # fmt: skip
    assert groups(calls, " models", "models")[("2026-02-01", "['nova-3']")] == (0.05, 1)
    assert groups(calls, " tags", "tags") == {
        (day, str([tag])): (hours, requests)
        for day, hours, requests in (("2026-01-31", 0.5, 1), ("2026-02-01", 0.25, 0))
        for tag in ("a", "b")
    }
    assert calls["usage.breakdown.get speak"]["value"]["results"] == []
    # SDK 4.8.1 reads no results without these.
    nothing = {"tokens": {"in": 0, "out": 0}, "tts": {"characters": 0, "requests": 0}}
    assert calls["usage.get"]["value"]["results"] == [
        {"start": "2026-01-31", "end": "2026-01-31", "hours": 0.5, "total_hours": 0.5, "requests": 1} | nothing,
        {"start": "2026-02-01", "end": "2026-02-01", "hours": 0.3, "total_hours": 0.3, "requests": 1} | nothing,
    ]
    assert calls["usage.get all"]["value"]["start"] == "2026-01-31"


def test_what_is_not_kept_is_not_filtered_by(calls):
    refused = calls["usage.breakdown.get diarize"]
    assert refused["status"] == 400 and "diarize" in str(refused["value"])


def test_fields(calls):
    fields = calls["usage.fields.list"]["value"]
    assert fields["tags"] == ["a", "b"] and fields["processing_methods"] == ["streaming"]
    assert [one["name"] for one in fields["models"]] == ["general", "nova-3"]


def test_requests(calls, customer):
    listed = calls["requests.list"]["value"]["requests"]
    assert len(listed) == 2 and listed[0]["created"] > listed[1]["created"]
    assert calls["requests.list page"]["value"]["requests"] == listed[1:]
    for one in listed:
        assert (one["project_uuid"], one["api_key_id"], one["code"]) == (customer[0], customer[1]["id"], 200)
        assert one["response"]["details"]["duration"] == 2 and one["path"] == "/v1/listen"
    assert calls["requests.get"]["value"]["request"] == listed[0]


def test_another_tenants_project_is_not_there(synthetic_server, customer):
    stranger = Operator.owner(synthetic_server).tenant()
    lines = run(synthetic_server, customer[1]["key"], project=stranger)
    assert {line.get("status") for name, line in lines.items() if name != "projects.list"} == {404}


def test_answers_are_those_of_the_document(customer):
    tenant, _, holder = customer
    (newest, _) = holder.call("GET", f"/v1/projects/{tenant}/requests").json()["requests"]
    names = {"project_id": tenant, "request_id": newest["request_id"]}
    for name in (
        "listProjects", "getProject", "getProjectUsage", "getProjectUsageBreakdown", "getProjectUsageFields",
        "listProjectRequests", "getProjectRequest",
    ):  # fmt: skip
        answer = holder.perform(operation(name), **names)
        assert answer.status_code == 200, answer.text
        operation(name).check(answer)
