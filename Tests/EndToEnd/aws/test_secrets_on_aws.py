"""Every secret that the API has ever returned in a run, looked for in all that the nodes keep and say: none is found."""

import base64
import contextlib

import pytest

from contract import names_in, operations
from fleet import wait_until_known
from leaks import Witness, digest, leaks, needles
from listen import LINEAR16, ListenSession, handshake, token
from operators import UNKNOWN, Operator
from processes import wait_until

INTERIM = LINEAR16 | {"interim_results": "true"}


def test_the_search_finds_what_it_looks_for():
    """Or else the test below would prove nothing."""
    secret = "hsk_live_" + "".join(f"{n:02x}" for n in range(0x51, 0x51 + 24)) + "q"
    sought = needles([secret])
    for n in range(3):
        text = b"x" * n + secret.encode() + b"yy"
        for hidden in (text, text.hex().encode(), base64.b64encode(text), base64.urlsafe_b64encode(text), text[20:40]):
            assert leaks(b"before " + hidden + b" after", sought) == {"hsk_live_5152"}
    assert not leaks(f"{secret[:13]} {secret[-4:]} {digest(secret)}".encode(), sought)


def everything_that_makes_secrets(witness: Witness, tenant: str) -> None:
    """Each call of the document that returns one, and each again with its Idempotency-Key."""
    key = witness.key(tenant, mode="test")
    for path, body in (
        (f"/v1/admin/tenants/{tenant}/keys", {"name": "repeated"}),
        (f"/v1/admin/tenants/{tenant}/keys/{key['id']}/rotate", {"overlap_seconds": 600}),
        ("/v1/admin/tokens", {"name": "repeated", "role": "viewer"}),
    ):
        for _ in range(2):
            assert witness.call("POST", path, body, Idempotency_Key="the-same").status_code == 201
    for role in ("owner", "operator", "billing", "viewer"):
        witness.with_role(role, tenants=[tenant])


def present(node, secret: str) -> None:
    """In every place where a client might put it, the right ones and the wrong ones."""
    for headers in (
        token(secret), {"Authorization": f"Bearer {secret}"}, {"Authorization": secret},
        {"Sec-WebSocket-Protocol": f"token, {secret}"}, {"Sec-WebSocket-Protocol": f"bearer, {secret}"}, token(secret[:-1]),
    ):
        handshake(node, INTERIM, headers)
    for parameters in ({"token": secret}, {"access_token": secret}, {"model": secret, "encoding": "none"}):
        handshake(node, INTERIM | parameters)
    for path in (f"/v1/transcripts/{secret}", f"/v1/admin/tenants/{secret}/keys/{secret}", f"/v1/{secret}"):
        node.get(path, secret, token=secret)
        node.post(path, {"name": secret}, f"Bearer {secret}")


def kept(fleet, founding, table, bucket) -> dict[str, bytes]:
    """All that is there after a run."""
    found = {
        "pg_dump": fleet.database.dump(),
        "Postgres's log": (founding.cluster.folder / "log").read_bytes(),
        "the table": b"\n".join(
            value.value if hasattr(value, "value") else str(value).encode()
            for item in table.everything() for pair in item.items() for value in pair
        ),
        "the bucket": b"\n".join(key.encode() + bucket.read(key) + str(bucket.head(key)).encode() for key in bucket.keys()),
    }
    for node in fleet.nodes:
        name = node.settings["HANSARD_NODE"]
        found[f"the log of {name}"] = node.log_path.read_bytes()
        for file in node.state_dir.rglob("*"):
            if file.is_file():
                found[f"{file.relative_to(node.folder)} of {name}"] = file.read_bytes()
    return found


@pytest.mark.parametrize("aws", ["ministack"], indirect=True)
def test_no_secret_is_kept_or_said(fleet, founding, table, bucket):
    fleet.settings["HANSARD_LOG_LEVEL"] = "trace"
    secret = fleet.admin_token()
    nodes = [fleet.start(name) for name in ("one", "two")]
    witness = Witness(nodes[0], secret, secrets={secret})
    tenant = witness.tenant()
    everything_that_makes_secrets(witness, tenant)
    key = witness.key(tenant)["key"]
    wait_until_known(key, nodes)
    holder = Witness(nodes[1], key, secrets=witness.secrets)
    for seconds in (1, 600):
        assert holder.call("POST", "/v1/auth/grant", {"ttl_seconds": seconds}).ok
    with contextlib.ExitStack() as sessions:
        live = [sessions.enter_context(ListenSession(node, INTERIM, key=key)) for node in nodes]
        for session in live:
            # Two finals, so that the spool has something of each.
            session.send(bytes(32_000 * 12))
            wait_until(lambda: len(session.finals()) >= 2, 30, "it is heard")
        live[0].finish()
        wait_until(lambda: holder.call("GET", f"/v1/transcripts/{live[0].request_id}/download").ok, 20, "it is stored")
        issued = frozenset(witness.secrets)
        kinds = {secret[:4] for secret in issued}
        assert len(issued) >= 13 and kinds == {"hsk_", "hsa_", "hst_", "X-Am"}, sorted(kinds)
        for one in issued:
            for node in nodes:
                present(node, one)
        shown = {f"{one.id} again": answer(witness, holder, one, tenant) for one in operations() if one.method == "GET"}
        metrics = {f"metrics of {node.settings['HANSARD_NODE']}": node.metrics().encode() for node in nodes}
        while_live = kept(fleet, founding, table, bucket)
        # What a killed node leaves behind is looked through as well.
        nodes[1].kill_at_once()
        after = kept(fleet, founding, table, bucket)
    sought = needles(issued)
    haystacks = [*shown.items(), *metrics.items(), *while_live.items(), *after.items()]
    size = sum(len(text) for _, text in haystacks)
    print(f"{len(issued)} secrets in {len(sought)} forms, {size} bytes in {len(haystacks)} places")
    assert {place: found for place, text in haystacks if (found := leaks(text, sought))} == {}
    # The search was where secrets would be.
    assert digest(key).encode() in after["pg_dump"]
    assert {name.split(" of ")[0].split("/")[1] for name in while_live if name.startswith("state/")} >= {"spool", "minutes"}
    for node in nodes:
        assert '"level":"debug"' in node.log() or '"level":"trace"' in node.log()


def answer(witness: Operator, holder: Operator, one, tenant: str) -> bytes:
    """What a later call is told. A download address is made for its caller, who is to have it."""
    if one.id == "downloadTranscript":
        return b""
    caller = holder if one.scopes else witness
    parts = {name: tenant if name == "tenant_id" else UNKNOWN[name] for name in names_in(one.path)}
    return caller.call("GET", one.path.format(**parts)).content
