"""What openapi.yaml cannot say of a request: bytes that are no JSON, characters that nothing can store, headers, sizes."""

import json
import socket
import threading
import uuid

import pytest

from contract import operation
from operators import Operator
from processes import wait_until
from subjects import subjects

TENANTS = "/v1/admin/tenants"
JSON = "application/json"


@pytest.fixture(scope="module")
def owner(synthetic_server) -> Operator:
    return Operator.owner(synthetic_server)


def raw(owner: Operator, method: str, target: str, body: bytes = b"", *headers: str) -> tuple[int, str]:
    """A request as these very bytes; (0, "") if the connection is closed without an answer."""
    lines = [f"{method} {target} HTTP/1.1", "Host: x", f"Authorization: Bearer {owner.token}", "Connection: close"]
    if method != "GET":
        lines += [f"Content-Length: {len(body)}"]
        if not any(header.startswith("Idempotency-Key") for header in headers):
            lines += [f"Idempotency-Key: {uuid.uuid4()}"]
    with socket.create_connection(("127.0.0.1", owner.server.port), timeout=20) as connection:
        connection.sendall("\r\n".join([*lines, *headers, "", ""]).encode() + body)
        answer = b""
        while received := connection.recv(65_536):
            answer += received
    head, _, text = answer.decode().partition("\r\n\r\n")
    return (int(head.split()[1]), text) if head else (0, "")


@pytest.mark.parametrize(
    "body",
    [
        b"{", b"nul", b"[]", b"null", b'"x"', b"1", b"{'name':'x'}", b'{"name":"x"}}', b'\xff{"name":"x"}',
        b'{"name":"\xff"}', b'{"name":"\\ud800"}', b'{"name":"x\\u0000"}', b'{"name":"x\x00"}', b'{"name":"a\\nb"}',
        b'{"name":"x","retention_days":1e400}', b'{"name":"x","retention_days":99999999999999999999999}',
        b'{"name":"x","retention_days":1.5}', b'{"name":"x","retention_days":"7"}', b'{"name":"x","retention_days":true}',
        b'{"name":null}', b'{"name":""}', b'{"name":["x"]}', b'{"name":"x","other":1}', b'{"name":"x","":1}',
        b'{"name":"x","metadata":{"a\\u0000":"b"}}', b'{"name":"x","metadata":{"a":1}}', b'{"name":"x","metadata":[]}',
        b'{"name":"x",}', b'{"name":"x","allowed_languages":["en",]}', b'{"name":"x"/* c */}', b'{"name":"x"}// c',
        b'{"name":"x","retention_days":NaN}', b'{"name":"x","retention_days":Infinity}', b'{"name":"x","retention_days":+1}',
        b'{"name":"x","retention_days":01}', b'{"name":"x","retention_days":1.}', b'{"name":"x","retention_days":0x1}',
        b'{"name":"x","name":"y"}', b'{"name":"x","metadata":{"a":"1","\\u0061":"2"}}', b'{name:"x"}', b'{"name":"\\x41"}',
        b'{"name":"\\udc00\\ud800"}', b'{"name":"\\ud83d"}', b'\xef\xbb\xbf{"name":"x"}', b'{"name":"x"}{}', b'{"name":"x"}\0',
        b'{"name":"\xed\xa0\x80"}', b'{"name":"\xc0\xaf"}', b'{"name":"x","other":' + b"[" * 32 + b"]" * 32 + b"}",
        b"[" * 100_000, b'{"name":' * 10_000, b'{"name":"' + b"x" * 201 + b'"}',
    ],
    ids=lambda body: repr(body[:40]),
)
def test_a_body_that_is_none_is_refused(owner, body):
    status, text = raw(owner, "POST", TENANTS, body, f"Content-Type: {JSON}")
    assert status == 400, text


def test_a_place_in_the_body_is_named(owner):
    for body, pointer in (
        ({"name": "x", "allowed_languages": ["en", 5]}, "/allowed_languages/1"),
        ({"name": "x", "metadata": {"a/b~c": 5}}, "/metadata/a~1b~0c"),
        ({"name": "x", "a/b": 5}, "/a~1b"),
        ({}, "/name"),
        ([], ""),
    ):
        answer = owner.call("POST", TENANTS, body)
        assert answer.status_code == 400
        assert answer.json()["errors"][0]["pointer"] == pointer


@pytest.mark.parametrize(
    "body, pointer",
    [
        (b'{"name":"x","allowed_languages":["en",]}', "/allowed_languages/1"), (b'{"name":"x","name":"y"}', "/name"),
        (b'{"name":"x","metadata":{"a/b":"1","a/b":"2"}}', "/metadata/a~1b"), (b'{"name":"\\ud83d"}', "/name"),
        (b'{"name":"x","retention_days":NaN}', "/retention_days"), (b'{"name":"x",}', ""),
        (b'{"name":"x","metadata":{"a":' + b"[" * 40 + b"]" * 40 + b"}}", "/metadata/a" + "/0" * 30),
    ],
    ids=lambda body: repr(body[:40]),
)
def test_what_is_no_json_is_named_with_its_place(owner, body, pointer):
    status, text = raw(owner, "POST", TENANTS, body, f"Content-Type: {JSON}")
    assert status == 400 and json.loads(text)["errors"][0]["pointer"] == pointer, text


@pytest.mark.parametrize("size, status", [(1 << 20, 400), ((1 << 20) + 1, 413)])
def test_a_body_has_at_most_a_mebibyte(owner, size, status):
    body = b'{"name":"' + b"x" * (size - 11) + b'"}'
    assert raw(owner, "POST", TENANTS, body, f"Content-Type: {JSON}")[0] == status


@pytest.mark.parametrize("kind", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "json", "é"])
def test_a_body_of_another_type_is_415(owner, kind):
    status, text = raw(owner, "POST", TENANTS, b'{"name":"x"}', f"Content-Type: {kind}")
    assert status == 415, text


@pytest.mark.parametrize("kind", [JSON, "Application/JSON; charset=utf-8", None])
def test_json_may_say_so_in_any_way(owner, kind):
    headers = [f"Content-Type: {kind}"] if kind else []
    assert raw(owner, "POST", TENANTS, b'{"name":"x"}', *headers)[0] == 201


@pytest.mark.parametrize(
    "query, status",
    [
        ("limit=0", 400), ("limit=101", 400), ("limit=%2B5", 400), ("limit=05", 400), ("limit=5&limit=5", 400),
        ("limit=", 400), ("limit=99999999999999999999", 400), ("other=1", 400), ("%C3%A9=1", 400), ("after=", 400),
        ("after=00", 400), ("after=" + "0" * 512, 400), ("after=%F0%9F%8E%BA", 400), ("name=", 400), ("name=a%0Ab", 400),
        ("name=" + "x" * 201, 400), ("status=gone", 400), ("name=%27%3B%20DROP%20TABLE%20tenants%3B--", 200),
        ("name=%FF%FE", 200), ("name=%ED%A0%80", 200),
    ],
)
def test_a_query_is_read_strictly(owner, query, status):
    got, text = raw(owner, "GET", f"{TENANTS}?{query}")
    assert got == status, text


def test_no_nul_reaches_the_database(owner):
    """The library closes the connection of such an address, so that there is no answer, or refuses it."""
    for target in (f"{TENANTS}?name=a%00b", f"{TENANTS}/%00", f"{TENANTS}%00", "/v1/admin/audit?action=%00"):
        assert raw(owner, "GET", target)[0] in (0, 400, 403, 404), target
    assert owner.call("GET", TENANTS).status_code == 200


def test_paths_lead_nowhere_else(owner):
    tenant = owner.tenant()
    for path in (
        f"{TENANTS}/{tenant}/", f"{TENANTS}/{tenant}%2Fkeys%2F", f"{TENANTS}/{tenant}/keys/..%2F..%2Fquotas%00",
        f"{TENANTS}/{tenant};x=1", f"{TENANTS.upper()}/{tenant}", f"{TENANTS}/{tenant}/keys/" + "x" * 4_000,
        f"{TENANTS}/{{{tenant}}}", f"{TENANTS}/{tenant}%0d%0aX-Injected:%201",
    ):
        status, text = raw(owner, "GET", path)
        assert status in (0, 400, 404), (path, text)
        assert "X-Injected" not in text.split("{")[0]


@pytest.mark.parametrize(
    "key, status",
    [
        ("x", 201), ('"x y"', 400), ('"quoted"', 201), ("x" * 255, 201), ('"' + "x" * 255 + '"', 201), ("x" * 256, 400), ("", 400),
        ('""', 400), ('"', 400), ('"open', 400), ("a b", 400), ('a"b', 400), ('"a\\b"', 400), ("é", 400), ("a, b", 400),
    ],
)
def test_an_idempotency_key_has_a_form(owner, key, status):
    token = owner.with_role("operator")
    got, text = raw(token, "POST", TENANTS, b'{"name":"x"}', f"Idempotency-Key: {key}")
    assert got == status, text


def test_one_idempotency_key_is_one_call(owner):
    path, name = TENANTS, str(uuid.uuid4())
    first = owner.call("POST", path, {"name": "x"}, Idempotency_Key=name)
    assert owner.call("POST", path, {"name": "y"}, Idempotency_Key=name).status_code == 422
    assert owner.call("POST", path, {"name": "x"}, Idempotency_Key=f'"{name}"').json() == first.json()
    other = owner.with_role("operator").call("POST", path, {"name": "x"}, Idempotency_Key=name)
    assert other.status_code == 201 and other.json()["id"] != first.json()["id"], "another caller's is another"


def test_calls_at_once_with_one_idempotency_key_are_one_call(owner):
    name, answers = str(uuid.uuid4()), []
    def call():
        answers.append(owner.call("POST", TENANTS, {"name": f"once {name}"}, Idempotency_Key=name))

    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = owner.call("GET", f"{TENANTS}?name=once%20{name}").json()["data"]
    assert len(made) == 1
    assert {answer.json()["id"] for answer in answers if answer.status_code == 201} == {made[0]["id"]}


def test_a_call_that_took_away_what_it_was_about_may_be_repeated(owner):
    one, repeat = operation("terminateTenantSession"), {"Idempotency-Key": str(uuid.uuid4())}
    with subjects(owner, one, owner.tenant()) as names:
        path = one.path.format(**names)
        first = owner.call("POST", path, **repeat)
        assert first.status_code == 202
        wait_until(lambda: owner.call("POST", path).status_code == 409, 10, "the session has ended")
        again = owner.call("POST", path, **repeat)
    one.check(again)
    assert again.status_code == 202 and again.json() == first.json()
    assert again.headers["Idempotent-Replayed"] == "true"


@pytest.mark.parametrize("tag", ["x", '"r0"', '"r2"', 'W/"r1"', '"r1", "r2"', '"r99999999999999999999"', '"r-1"', '"r+1"'])
def test_a_stale_tag_changes_nothing(owner, tag):
    tenant = owner.tenant("as it was")
    answer = owner.call("PATCH", f"{TENANTS}/{tenant}", {"name": "changed"}, If_Match=tag)
    assert answer.status_code == 412, answer.text
    after = owner.call("GET", f"{TENANTS}/{tenant}")
    assert after.json()["name"] == "as it was" and after.headers["ETag"] == '"r1"'


@pytest.mark.parametrize("tag", ['"r1"', "*"])
def test_the_present_tag_lets_change(owner, tag):
    tenant = owner.tenant()
    answer = owner.call("PATCH", f"{TENANTS}/{tenant}", {"name": "changed"}, If_Match=tag)
    assert answer.status_code == 200 and answer.headers["ETag"] == '"r2"'


def test_what_is_well_formed_and_not_possible_is_422(owner):
    tenant = owner.tenant()
    for method, path, body, pointer in (
        ("POST", TENANTS, {"name": "x", "default_engine": "deepgram"}, "/default_engine"),
        ("POST", TENANTS, {"name": "x", "default_engine": "synthetic", "allowed_engines": []}, "/default_engine"),
        ("POST", f"{TENANTS}/{tenant}/keys", {"name": "x", "expires_at": "2020-01-01T00:00:00Z"}, "/expires_at"),
        ("POST", "/v1/admin/tokens", {"name": "x", "role": "viewer", "tenants": [str(uuid.uuid4())]}, "/tenants"),
        ("POST", "/v1/admin/tokens", {"name": "x", "role": "viewer", "expires_at": "1066-10-14T09:00:00Z"}, "/expires_at"),
    ):
        answer = owner.call(method, path, body)
        assert answer.status_code == 422, answer.text
        assert answer.json()["errors"][0]["pointer"] == pointer


def test_a_cursor_is_good_for_its_own_list_alone(owner):
    owner.tenant(), owner.tenant()
    cursor = owner.call("GET", f"{TENANTS}?limit=1").json()["next_cursor"]
    assert owner.call("GET", f"{TENANTS}?limit=1&after={cursor}").status_code == 200
    for path in ("/v1/admin/audit", "/v1/admin/tokens", f"{TENANTS}/{owner.tenant()}/keys"):
        assert owner.call("GET", f"{path}?after={cursor}").status_code == 400
    altered = cursor[:-1] + ("0" if cursor[-1] != "0" else "1")
    assert owner.call("GET", f"{TENANTS}?after={altered}").status_code == 400


@pytest.mark.parametrize("method", ["PUT", "OPTIONS", "DELETE", "PATCH"])
def test_other_methods_are_405_and_which_are_not(owner, method):
    answer = owner.call(method, TENANTS)
    assert answer.status_code == 405
    assert set(answer.headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}


def test_quotas_are_not_taken_away_by_mistake(owner):
    tenant = owner.tenant()
    owner.call("PUT", f"{TENANTS}/{tenant}/quotas", {"max_concurrent_sessions": 5})
    assert raw(owner, "PUT", f"{TENANTS}/{tenant}/quotas")[0] == 400
    assert owner.call("GET", f"{TENANTS}/{tenant}/quotas").json()["max_concurrent_sessions"] == 5
    assert owner.call("PUT", f"{TENANTS}/{tenant}/quotas", {}).json()["max_concurrent_sessions"] is None
