"""Plans, their versions and who is billed by them, through the whole server and beside it in its database."""

import json
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract import operation
from database import Database
from operators import PRICES, Operator
from processes import wait_until
from raw_requests import send_raw

PLANS = "/v1/admin/plans"
TENANTS = "/v1/admin/tenants"
AT_ONCE = 8
WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'transactionid'"


@pytest.fixture(scope="module")
def owner(synthetic_server) -> Operator:
    return Operator.owner(synthetic_server)


@pytest.fixture(scope="module")
def billing(owner) -> Operator:
    return owner.with_role("billing")


@pytest.fixture(scope="module")
def database(synthetic_server) -> Database:
    return Database.of(synthetic_server)


def prices(*tiers: tuple[int | None, object], **fields) -> dict:
    return PRICES | {"charges": [{"tiers": [{"up_to": end, "unit_price": price} for end, price in tiers]}]} | fields


def at_once(calls: list) -> list:
    with ThreadPoolExecutor(len(calls)) as pool:
        return [running.result(30) for running in [pool.submit(*call) for call in calls]]


def test_a_price_rises_from_a_month_on(owner, billing):
    tenant, plan = owner.tenant(), billing.plan()
    path = f"{TENANTS}/{tenant}/plans"
    assert billing.assigned(tenant, "2026-12", plan_id=plan)["to_period"] is None
    dearer = billing.made(f"{PLANS}/{plan}/versions", prices((None, "0.03")))
    assert dearer["version"] == 2 and dearer["used_at"] is None
    # It is in the way until it has an end.
    wanted = {"plan_id": plan, "version": 2, "from_period": "2027-06"}
    refused = billing.call("POST", path, wanted)
    operation("assignPlan").check(refused)
    assert refused.status_code == 409 and "from 2026-12 on" in refused.json()["detail"]
    assert billing.call("PATCH", f"{path}/2026-12", {"to_period": "2027-05"}).json()["to_period"] == "2027-05"
    assert billing.made(path, wanted)["version"] == 2
    listed = billing.call("GET", path).json()["data"]
    assert [(one["version"], one["from_period"], one["to_period"]) for one in listed] == [
        (2, "2027-06", None), (1, "2026-12", "2027-05")]
    # All of it is on record: what is the tenant's in its chain, what is everybody's in the installation's.
    log = owner.call("GET", f"/v1/admin/audit?tenant_id={tenant}").json()["data"]
    assert [entry["action"] for entry in reversed(log)] == [
        "tenant.create", "plan_assignment.create", "plan_assignment.update", "plan_assignment.create"]
    assert log[1]["changes"]["before"]["to_period"] is None and log[1]["changes"]["after"]["to_period"] == "2027-05"
    (made,) = owner.call("GET", f"/v1/admin/audit?action=plan_version.create&target_id={plan}/2").json()["data"]
    assert made["tenant_id"] is None and made["changes"]["after"]["charges"][0]["tiers"][0]["unit_price"] == "0.03"
    for chain in (f"?tenant_id={tenant}", ""):
        assert owner.call("GET", f"/v1/admin/audit/verify{chain}").json()["is_intact"]


@pytest.mark.parametrize(
    "body, status, pointer",
    [
        # Gaps and overlaps: a tier begins where the one before ends, so that what can be wrong is the order and the end.
        (prices((100, "1"), (50, "1"), (None, "1")), 422, "/charges/0/tiers/1/up_to"),
        (prices((100, "1"), (100, "1"), (None, "1")), 422, "/charges/0/tiers/1/up_to"),
        (prices((None, "1"), (100, "1")), 422, "/charges/0/tiers/0/up_to"),
        (prices((100, "1"), (200, "1")), 422, "/charges/0/tiers/1/up_to"),
        (prices((100, "1")), 422, "/charges/0/tiers/0/up_to"),
        (prices((0, "1"), (None, "1")), 400, "/charges/0/tiers/0/up_to"),
        (prices((-5, "1"), (None, "1")), 400, "/charges/0/tiers/0/up_to"),
        (prices((1.5, "1"), (None, "1")), 400, "/charges/0/tiers/0/up_to"),
        (prices(("100", "1"), (None, "1")), 400, "/charges/0/tiers/0/up_to"),
        (prices(), 400, "/charges/0/tiers"),
        (prices(*[(end, "1") for end in range(1, 21)], (None, "1")), 400, "/charges/0/tiers"),
        (prices((None, "-0.01")), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, "0.0000000000001")), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, "1000000000.1")), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, "1,5")), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, "٣")), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, "1\n")), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, "1\0")), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, 0.024)), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, 1)), 400, "/charges/0/tiers/0/unit_price"),
        (prices((None, "1"), currency="XYZ"), 400, "/currency"),
        (prices((None, "1"), currency="usd"), 400, "/currency"),
        (prices((None, "1"), currency=None), 400, "/currency"),
        (prices((None, "1"), commitment=50), 400, "/commitment"),
        (prices((None, "1"), commitment="-50"), 400, "/commitment"),
        (prices((None, "1"), increment_ms=0), 400, "/increment_ms"),
        (prices((None, "1"), minimum_ms=3_600_001), 400, "/minimum_ms"),
        (prices((None, "1"), billed_time="engine"), 400, "/billed_time"),
        (prices((None, "1"), discount="1"), 400, "/discount"),
        (PRICES | {"charges": []}, 400, "/charges"),
        (PRICES | {"charges": PRICES["charges"] * 2}, 422, "/charges/1"),
        (PRICES | {"charges": [{**PRICES["charges"][0], "engine": "whisper"}]}, 400, "/charges/0/engine"),
        (PRICES | {"charges": [{**PRICES["charges"][0], "language": "e\0n"}]}, 400, "/charges/0/language"),
        (PRICES | {"charges": [{**PRICES["charges"][0], "price": "1"}]}, 400, "/charges/0/price"),
        (PRICES | {"charges": [{"tiers": [{"unit_price": "1", "from": 1}]}]}, 400, "/charges/0/tiers/0/from"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_prices_that_are_none_are_refused_and_leave_nothing(billing, body, status, pointer):
    plan = billing.plan()
    for method, path, name in (
        ("POST", f"{PLANS}/{plan}/versions", "createPlanVersion"), ("PUT", f"{PLANS}/{plan}/versions/1", "replacePlanVersion"),
    ):
        answer = billing.call(method, path, body)
        operation(name).check(answer)
        assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (status, pointer), answer.text
    (kept,) = billing.call("GET", f"{PLANS}/{plan}/versions").json()["data"]
    assert kept["charges"][0]["tiers"] == [{"up_to": 1000, "unit_price": "0.024"}, {"up_to": None, "unit_price": "0.015"}]


def test_a_price_that_is_a_number_is_asked_for_as_a_string(billing):
    answer = billing.call("POST", f"{PLANS}/{billing.plan()}/versions", prices((None, 0.1)))
    assert "unit_price must be a string such as '0.0043', not a number" in answer.json()["detail"]


def test_prices_are_kept_to_the_last_place(billing, database):
    plan = billing.plan()
    exact = [(1, "999999999.999999999999"), (2, "0.000000000001"), (None, "1000000000")]
    made = billing.made(f"{PLANS}/{plan}/versions", prices(*exact, commitment="0.100000000000"))
    assert [(tier["up_to"], tier["unit_price"]) for tier in made["charges"][0]["tiers"]] == exact
    assert made["commitment"] == "0.1"
    assert billing.call("GET", f"{PLANS}/{plan}/versions/2").json() == made
    (row,) = database.query(f"SELECT document FROM plan_versions WHERE plan_id = '{plan}' AND version = 2")
    assert json.loads(row[0])["charges"] == made["charges"]


@pytest.mark.parametrize("name", [b"", b"a\\u0000b", b"a\\nb", b"\\u007f", b"a\x00b", b"a\nb", b"\xff", b"x" * 201, b"\\ud800"], ids=repr)
def test_a_name_is_text(billing, name):
    body = b'{"name":"' + name + b'"}'
    answer = send_raw(billing, "POST", PLANS, body, "Content-Type: application/json", f"Idempotency-Key: {uuid.uuid4()}")
    assert answer.status == 400 and json.loads(answer.text)["errors"][0]["pointer"] == "/name", answer.text


def test_a_name_is_one_plans_whoever_comes_at_once(billing, database):
    name = f"at once {uuid.uuid4()}"
    answers = at_once([(billing.call, "POST", PLANS, {"name": name})] * AT_ONCE)
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (AT_ONCE - 1)
    refused = next(answer for answer in answers if answer.status_code == 409)
    operation("createPlan").check(refused)
    assert refused.json()["errors"][0]["pointer"] == "/name"
    assert database.query(f"SELECT count(*) FROM plans WHERE name = '{name}'") == [["1"]]


def test_versions_made_at_once_have_numbers_of_their_own(billing):
    plan = billing.plan()
    answers = at_once([(billing.call, "POST", f"{PLANS}/{plan}/versions", PRICES)] * AT_ONCE)
    assert sorted(answer.json()["version"] for answer in answers) == list(range(2, AT_ONCE + 2))


def test_a_version_that_was_assigned_stays_whoever_asks(owner, billing, database):
    tenant, plan = owner.tenant(), billing.plan()
    path = f"{PLANS}/{plan}/versions/1"
    assert billing.call("PUT", path, prices((None, "0.02"))).ok
    billing.assigned(tenant, "2026-12", plan_id=plan)
    assert billing.call("DELETE", f"{TENANTS}/{tenant}/plans/2026-12").status_code == 204
    used = billing.call("GET", path)
    for method, name, body in (("PUT", "replacePlanVersion", PRICES), ("DELETE", "deletePlanVersion", None)):
        refused = owner.call(method, path, body)
        operation(name).check(refused)
        assert refused.status_code == 409 and "make a new version" in refused.json()["detail"]
    for statement in ("UPDATE plan_versions SET document = '{}'", "DELETE FROM plan_versions", "UPDATE plan_versions SET used_at = NULL"):
        with pytest.raises(AssertionError, match="was assigned to a tenant"):
            database.query(f"{statement} WHERE plan_id = '{plan}'")
    assert billing.call("GET", path).json() == used.json()


def test_a_version_is_not_changed_while_it_is_assigned(owner, billing):
    """Whichever is first, what the tenant is billed by is what the version is ever after."""
    for _ in range(5):
        tenant, plan = owner.tenant(), billing.plan()
        path = f"{PLANS}/{plan}/versions/1"
        wanted = {"plan_id": plan, "version": 1, "from_period": "2026-12"}
        changed, assigned = at_once([
            (billing.call, "PUT", path, prices((None, "9"))), (billing.call, "POST", f"{TENANTS}/{tenant}/plans", wanted)])
        assert assigned.status_code == 201 and changed.status_code in (200, 409)
        said = billing.call("GET", path).json()["charges"][0]["tiers"][0]["unit_price"]
        assert said == ("9" if changed.ok else "0.024")
        assert billing.call("PUT", path, PRICES).status_code == 409


def test_of_those_who_assign_at_once_one_has_the_month(owner, billing, database):
    tenant, plan = owner.tenant(), billing.plan()
    wanted = [
        {"plan_id": plan, "version": 1, "from_period": f"2027-{month:02}", "to_period": "2027-12"} for month in range(1, AT_ONCE + 1)]
    answers = at_once([(billing.call, "POST", f"{TENANTS}/{tenant}/plans", body) for body in wanted])
    assert sorted(answer.status_code for answer in answers) == [201] + [409] * (AT_ONCE - 1)
    assert len(billing.call("GET", f"{TENANTS}/{tenant}/plans").json()["data"]) == 1
    # Past the API as well, where two that race have seen nothing of each other.
    insert = (
        "INSERT INTO plan_assignments (tenant_id, from_period, plan_id, version, created_at, updated_at) "
        f"VALUES ('{tenant}', '%s', '{plan}', 1, now(), now())"
    )
    first, second = database.transaction(), database.transaction()
    try:
        first.tell(insert % "2028-01")
        wait_until(first.is_idle, 10, "the first is in")
        second.tell(insert % "2028-05")
        wait_until(lambda: database.query(WAITING), 10, "the second waits for it")
        first.tell("COMMIT")
    finally:
        first.close(), second.close()
    assert any("plan_assignments_overlap" in line for line in second.said), second.said
    kept = f"SELECT from_period FROM plan_assignments WHERE tenant_id = '{tenant}' AND from_period > '2028'"
    assert database.query(kept) == [["2028-01"]]


@pytest.mark.parametrize(
    "change, status, pointer",
    [
        ({"from_period": "2026-12", "to_period": "2026-11"}, 422, "/to_period"), ({"version": 2}, 422, "/version"),
        ({"version": 0}, 400, "/version"), ({"version": "1"}, 400, "/version"), ({"version": 2**31}, 400, "/version"),
        ({"plan_id": str(uuid.UUID(int=9))}, 422, "/plan_id"), ({"plan_id": "standard"}, 400, "/plan_id"),
        ({"plan_id": None}, 400, "/plan_id"),
        ({"from_period": "2026-1"}, 400, "/from_period"), ({"from_period": "2026-13"}, 400, "/from_period"),
        ({"from_period": "2026-12-01"}, 400, "/from_period"), ({"from_period": 2026}, 400, "/from_period"),
        ({"from_period": "2026-12\n"}, 400, "/from_period"), ({"from_period": None}, 400, "/from_period"),
        ({"to_period": ""}, 400, "/to_period"), ({"until": "2026-12"}, 400, "/until"),
    ],
    ids=str,
)
def test_an_assignment_is_of_what_is_there(owner, billing, change, status, pointer):
    tenant = owner.tenant()
    body = {"plan_id": billing.plan(), "version": 1, "from_period": "2026-12"} | change
    answer = billing.call("POST", f"{TENANTS}/{tenant}/plans", body)
    operation("assignPlan").check(answer)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (status, pointer), answer.text
    assert billing.call("GET", f"{TENANTS}/{tenant}/plans").json()["data"] == []


def test_an_archived_plan_is_for_those_who_have_it(owner, billing):
    tenant, plan = owner.tenant(), billing.plan()
    billing.assigned(tenant, "2026-01", "2026-12", plan_id=plan)
    assert billing.call("PATCH", f"{PLANS}/{plan}", {"archived": True}).json()["archived"]
    path, wanted = f"{TENANTS}/{tenant}/plans", {"plan_id": plan, "version": 1, "from_period": "2027-01"}
    refused = billing.call("POST", path, wanted)
    operation("assignPlan").check(refused)
    assert refused.status_code == 409 and "is archived" in refused.json()["detail"]
    assert billing.call("PATCH", f"{path}/2026-01", {"to_period": None}).ok
    assert not billing.call("PATCH", f"{PLANS}/{plan}", {"archived": False}).json()["archived"]
    assert billing.call("PATCH", f"{path}/2026-01", {"to_period": "2026-12"}).ok
    assert billing.call("POST", path, wanted).status_code == 201


def test_a_token_of_some_tenants_assigns_and_changes_no_plan(owner, billing):
    mine, theirs, plan = owner.tenant(), owner.tenant(), billing.plan()
    limited = owner.with_role("billing", tenants=[mine])
    for name in ("listPlans", "getPlan", "listPlanVersions", "getPlanVersion"):
        answer = limited.perform(operation(name), plan_id=plan, version=1)
        operation(name).check(answer)
        assert answer.status_code == 200, answer.text
    for name in ("createPlan", "updatePlan", "createPlanVersion", "replacePlanVersion", "deletePlanVersion"):
        one = operation(name)
        answer = limited.perform(one, one.request_examples()[0], plan_id=plan, version=1, name=f"a plan {uuid.uuid4()}")
        one.check(answer)
        assert answer.status_code == 403 and "limited to tenants" in answer.json()["detail"]
    assert limited.assigned(mine, "2026-12", plan_id=plan)["tenant_id"] == mine
    wanted = {"plan_id": plan, "version": 1, "from_period": "2026-12"}
    assert limited.call("POST", f"{TENANTS}/{theirs}/plans", wanted).status_code == 404


def test_a_deleted_tenants_plans_are_kept_and_not_shown(owner, billing, database):
    tenant = owner.tenant()
    billing.assigned(tenant, "2026-01")
    assert owner.call("DELETE", f"{TENANTS}/{tenant}").status_code == 204
    for name in ("listAssignments", "getAssignment", "endAssignment", "deleteAssignment", "assignPlan"):
        one = operation(name)
        answer = billing.perform(one, one.request_examples()[0], tenant_id=tenant, from_period="2026-01", plan_id=billing.plan())
        one.check(answer)
        assert answer.status_code == 404, answer.text
    assert database.query(f"SELECT from_period FROM plan_assignments WHERE tenant_id = '{tenant}'") == [["2026-01"]]


def test_a_repeated_call_makes_one_version(billing):
    plan, repeat = billing.plan(), {"Idempotency-Key": str(uuid.uuid4())}
    first, second = (billing.call("POST", f"{PLANS}/{plan}/versions", PRICES, **repeat) for _ in range(2))
    assert first.json() == second.json() and second.headers["Idempotent-Replayed"] == "true"
    assert len(billing.call("GET", f"{PLANS}/{plan}/versions").json()["data"]) == 2
