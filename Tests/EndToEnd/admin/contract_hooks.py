"""What schemathesis cannot know from openapi.yaml alone; loaded by its configuration file."""

import os
import re
import uuid

import schemathesis
from hypothesis import strategies as st

CURSOR = re.compile(r"[0-9a-f]{28,512}")
IDEMPOTENCY_KEY = re.compile(r'"[!#-\[\]-~]{1,255}"|[!#-~]{1,255}')
# Those that the run itself needs; the rest is made by it.
OWN_TENANT = os.environ["HANSARD_OWN_TENANT"]
OWN_TOKEN = os.environ["HANSARD_OWN_TOKEN"]

# An IPv4 address that is mapped into IPv6 is an IPv4 one to the server, with 32 bits.
addresses = st.ip_addresses().filter(lambda one: getattr(one, "ipv4_mapped", None) is None)
schemathesis.openapi.format(
    "cidr",
    st.one_of(
        addresses.map(str),
        addresses.flatmap(lambda one: st.integers(0, one.max_prefixlen).map(lambda bits: f"{one}/{bits}")),
    ),
)
# Cursors are signed: those of earlier answers come by the links, see below.
schemathesis.openapi.format("cursor", st.just("none"))


@schemathesis.hook
def before_call(context, case, kwargs):
    parts = case.path_parameters or {}
    if parts.get("tenant_id") == OWN_TENANT and case.method.upper() != "GET":
        parts["tenant_id"] = str(uuid.uuid4())
    if parts.get("token_id") == OWN_TOKEN:
        parts["token_id"] = "adm_" + "0" * 22
    after = (case.query or {}).get("after")
    if after == "none" or after is None and case.query and "after" in case.query:
        del case.query["after"]
    headers = case.headers or {}
    key = headers.get("Idempotency-Key")
    # Short keys are drawn again and again; with another body they are refused, as they should be.
    if isinstance(key, str) and IDEMPOTENCY_KEY.fullmatch(key) and len(key) < 40:
        case.headers["Idempotency-Key"] = str(uuid.uuid4())
