"""What schemathesis cannot know from openapi.yaml alone; loaded by its configuration file."""

import os
import re
import uuid
from datetime import date, datetime, timedelta

import schemathesis
from hypothesis import strategies as st

CURSOR = re.compile(r"[0-9a-f]{28,512}")
IDEMPOTENCY_KEY = re.compile(r'"[!#-\[\]-~]{1,255}"|[!#-~]{1,255}')
KNOWN_HEADERS = {"authorization", "content-type", "idempotency-key", "if-match"}
CODES = {
    400: "invalid", 401: "unauthenticated", 404: "not_found", 405: "method_not_allowed", 409: "conflict", 412: "stale",
    415: "unsupported_media_type", 422: "contradictory",
}
# As the web library refuses what it does not read: see "Before it is read" in the document.
WITHOUT_CODE = {400, 411, 413, 501}
# What the form of a request cannot tell and 422 is about: engines, times, tenants, plans, prices that do not go together, months
# that end before they begin, places that a currency has not, and an Idempotency-Key that came before.
ONLY_THE_SERVER_KNOWS = {
    "allowed_engines", "default_engine", "fallback_engine", "engine", "expires_at", "tenants", "idempotency-key",
    "plan_id", "version", "charges", "to_period", "amount",
}
# Those that a thing's state may forbid.
BY_STATE = {
    "rotateKey", "disableKey", "enableKey", "terminateSession", "terminateTenantSession", "downloadTranscript",
    "downloadTenantTranscript", "createPlan", "updatePlan", "replacePlanVersion", "deletePlanVersion", "assignPlan", "endAssignment",
    "deleteAssignment", "closePeriod", "retireUsageSource", "previewTenantInvoice", "createCredit", "deleteCredit",
    "listInvoiceLineSessions", "listTenantInvoiceLineSessions",
}
# Reports, of which some that the document allows have no range, or another limit by their width.
USAGE = {"getUsage", "listSessionUsage", "getTenantUsage", "listTenantSessionUsage"}
WIDTHS = {"1m": 1440, "1h": 168, "1d": 31, "1mo": 60}
PROJECT_DAYS = {"getProjectUsage", "getProjectUsageBreakdown", "getProjectUsageFields"}
# Those that the run itself needs; the rest is made by it.
OWN_TENANT = os.environ["HANSARD_OWN_TENANT"]
OWN_TOKEN = os.environ["HANSARD_OWN_TOKEN"]
ADMIN_TOKEN, API_KEY = (os.environ[name] for name in ("HANSARD_ADMIN_TOKEN", "HANSARD_API_KEY"))
CREDENTIALS = {f"Bearer {ADMIN_TOKEN}", f"Bearer {API_KEY}", f"Token {API_KEY}"}

# An IPv4 address that is mapped into IPv6 is an IPv4 one to the server, with 32 bits.
addresses = st.ip_addresses().filter(lambda one: getattr(one, "ipv4_mapped", None) is None)
schemathesis.openapi.format(
    "cidr",
    st.one_of(
        addresses.map(str),
        addresses.flatmap(lambda one: st.integers(0, one.max_prefixlen).map(lambda bits: f"{one}/{bits}")),
    ),
)
# Times are of the years 1900 to 9999 in UTC, wherever an offset takes them: no schema can say so.
days = st.dates(date(1900, 1, 2), date(9999, 12, 30))
schemathesis.openapi.format("date", days.map(str))
times = st.builds(datetime.combine, days, st.times())
offsets = st.just("Z") | st.builds("{}{:02}:{:02}".format, st.sampled_from("+-"), st.integers(0, 23), st.integers(0, 59))
schemathesis.openapi.format("date-time", st.builds("{}{}".format, times.map(datetime.isoformat), offsets))
# Cursors are signed: those of earlier answers come by the links, see below.
schemathesis.openapi.format("cursor", st.just("none"))


def with_range(case) -> None:
    """Makes a range out of whatever times were drawn: what belongs together no schema can say."""
    name, query = case.operation.definition.raw["operationId"], case.query
    drawn = str(query.get("start_time", query.get("start"))) + str(query.get("end_time", query.get("end")))
    start = datetime(2025, 1, 1) + timedelta(hours=len(drawn) * 97 % 5_000)
    if name in USAGE:
        query["start_time"] = start.strftime("%Y-%m-%dT%H:00:00Z")
        query["end_time"] = (start + timedelta(hours=1 + sum(map(ord, drawn)) % 600)).strftime("%Y-%m-%dT%H:00:00Z")
        if "Session" not in name and "limit" in query:
            query["limit"] = min(int(query["limit"]), WIDTHS[query.get("bucket_width", "1d")])
    elif name in PROJECT_DAYS:
        query["start"], query["end"] = (f"{start:%Y-%m-%d}", f"{start + timedelta(days=len(drawn)):%Y-%m-%d}")
    elif name == "listProjectRequests":
        if "page" in query:
            query["page"] = min(int(query["page"]), 10_000 // int(query.get("limit", 10)) - 1)
        if "start" in query and "end" in query:
            query["end"] = query["start"]


@schemathesis.hook
def before_call(context, case, kwargs):
    is_sound = case.meta is not None and not case.meta.generation.mode.is_negative
    if is_sound and case.query is not None:
        with_range(case)
    parts = case.path_parameters or {}
    if is_sound and "project_id" in parts:
        parts["project_id"] = OWN_TENANT
    if is_sound and case.operation.definition.raw["operationId"] in USAGE and "tenant_id" in parts:
        parts["tenant_id"] = OWN_TENANT
    if parts.get("tenant_id") == OWN_TENANT and case.method.upper() != "GET":
        parts["tenant_id"] = str(uuid.uuid4())
    if parts.get("token_id") == OWN_TOKEN:
        parts["token_id"] = "adm_" + "0" * 22
    for name in ("after", "page"):
        if case.query and name in case.query and case.query[name] in ("none", None):
            del case.query[name]
    headers = case.headers or {}
    # Another name may hide the next line of the request from the web library: test_bad_input.py shows it.
    for name in [name for name in headers if name.lower() not in KNOWN_HEADERS]:
        del case.headers[name]
    key = headers.get("Idempotency-Key")
    # Short keys are drawn again and again; with another body they are refused, as they should be.
    if isinstance(key, str) and IDEMPOTENCY_KEY.fullmatch(key) and len(key) < 40:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())


@schemathesis.check
def refused_for_a_documented_reason(context, response, case):
    """What is allowed by the document is refused only for what its form cannot tell, and the refusal says what that was."""
    status = response.status_code
    if status < 400:
        return
    problem = response.json()
    code, places = problem.get("code"), [one["pointer"] for one in problem.get("errors", [])]
    assert code == CODES.get(status) or code is None and status in WITHOUT_CODE, f"{status} with the code {code}"
    sent = {name.lower(): value for name, value in response.request.headers.items()}
    is_malformed = case.meta is None or case.meta.generation.mode.is_negative
    reasons = {
        400: is_malformed,
        401: sent.get("authorization") not in CREDENTIALS,
        404: bool(case.path_parameters) or "tenant_id" in (case.query or {}),
        409: case.operation.definition.raw["operationId"] in BY_STATE,
        412: "if-match" in sent,
        415: is_malformed,
        422: bool(places) and {place.strip("/").split("/")[0] for place in places} <= ONLY_THE_SERVER_KNOWS,
    }
    assert reasons.get(status, True), f"{status} without a reason: {problem['detail']}"
