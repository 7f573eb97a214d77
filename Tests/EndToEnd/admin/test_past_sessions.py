"""Lists of sessions, live and past, on both planes: what is in them, in which order, and for whom."""

import threading
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract import operation
from listen import LINEAR16, ListenSession
from operators import UNKNOWN, Operator
from processes import wait_until

ALL, OWN = "/v1/admin/sessions", "/v1/sessions"
TWO_SECONDS = bytes(64_000)


@pytest.fixture(scope="module")
def owner(synthetic_server) -> Operator:
    return Operator.owner(synthetic_server)


class Customer:
    """A tenant with a key, and lists of its sessions on every plane."""

    def __init__(self, owner: Operator):
        self.owner, self.server = owner, owner.server
        self.tenant = owner.tenant()
        self.key = owner.key(self.tenant)
        self.own = Operator(self.server, self.key["key"])

    def listen(self, end: str, key: str | None = None, **parameters) -> str:
        """A session that ended so; its id."""
        with ListenSession(self.server, LINEAR16 | parameters, key=key or self.key["key"]) as session:
            session.send(TWO_SECONDS)
            session.finalize()
            session.wait_for(lambda message: message["type"] == "Results")
            if end == "completed":
                session.finish()
            elif end == "interrupted":
                session.abort()
            elif end == "terminated":
                self.own.call("POST", f"{OWN}/{session.request_id}/terminate")
                session.wait_closed(20)
            else:
                session.socket.send(b"\xff" * (2 << 20))
                session.wait_closed(20)
        wait_until(lambda: session.request_id in self.ids("status=past"), 20, f"{end}: it is among the past ones")
        return session.request_id

    def lists(self, query: str = "") -> list[dict]:
        """The same list from every plane that has it."""
        tenants = f"/v1/admin/tenants/{self.tenant}/sessions"
        answers = [
            (operation("listSessions"), self.own.call("GET", f"{OWN}?{query}")),
            (operation("listTenantSessions"), self.owner.call("GET", f"{tenants}?{query}")),
            (operation("listAllSessions"), self.owner.call("GET", f"{ALL}?tenant_id={self.tenant}" + (f"&{query}" if query else ""))),
        ]
        for one, answer in answers:
            assert answer.status_code == 200, answer.text
            one.check(answer)
        return [answer.json() for _, answer in answers]

    def ids(self, query: str = "") -> list[str]:
        own, *others = [[one["id"] for one in listed["data"]] for listed in self.lists(query)]
        # One that ends between the calls may be on some lists and not on others.
        return own if others == [own, own] else self.ids(query)


@pytest.fixture(scope="module")
def customer(owner) -> Customer:
    """One with a session of each end, and one that lives."""
    made = Customer(owner)
    made.second_key = owner.key(made.tenant)
    made.ends = {end: made.listen(end) for end in ("completed", "interrupted", "terminated")}
    made.of_second_key = made.listen("completed", made.second_key["key"], tag="labelled", language="en-US")
    with ListenSession(owner.server, LINEAR16, key=made.key["key"]) as session:
        session.send(TWO_SECONDS)
        wait_until(lambda: session.request_id in made.ids("status=live"), 20, "it has its slot")
        made.live = session.request_id
        over = threading.Event()
        # Else it would end by its silence.
        talker = threading.Thread(target=lambda: [session.keep_alive() for _ in iter(lambda: over.wait(3), True)])
        talker.start()
        yield made
        over.set()
        talker.join()


def test_live_and_past_are_one_list_newest_first(customer):
    past = [customer.of_second_key, *reversed(customer.ends.values())]
    assert customer.ids() == [customer.live, *past]
    assert customer.ids("status=live") == customer.ids("status=active") == [customer.live]
    assert customer.ids("status=past") == past


def test_a_past_session_says_all_that_is_kept(customer):
    path = f"{OWN}/{customer.of_second_key}"
    one = customer.own.call("GET", path).json()
    listed = next(each for each in customer.lists()[0]["data"] if each["id"] == one["id"])
    assert one == listed
    assert one["tenant_id"] == customer.tenant and one["key_id"] == customer.second_key["id"]
    assert one["state"] == "completed" and one["reason"] == ""
    assert one["audio_ms"] == one["engine_ms"] == 2000 and one["finals"] >= 1
    assert one["started_at"] < one["ended_at"]
    assert (one["engine"], one["language"], one["tags"], one["channels"]) == ("synthetic", "en-US", ["labelled"], 1)
    assert one["transcript_url"] == f"/v1/transcripts/{one['id']}"
    transcript = customer.own.call("GET", one["transcript_url"]).json()
    assert (transcript["audio_ms"], transcript["state"]) == (one["audio_ms"], one["state"])
    for path in (f"/v1/admin/tenants/{customer.tenant}/sessions", ALL):
        seen = customer.owner.call("GET", f"{path}/{one['id']}").json()
        assert seen == one | {"transcript_url": f"/v1/admin/transcripts/{one['id']}"}
        assert customer.owner.call("GET", seen["transcript_url"]).json() == transcript


def test_each_end_can_be_asked_for(customer):
    for end, session in customer.ends.items():
        assert session in customer.ids(f"status={end}")
        assert {one["state"] for one in customer.lists(f"status={end}")[0]["data"]} == {end}
    assert customer.ids("status=failed") == customer.ids("status=storing") == []
    reasons = {one["id"]: one["reason"] for one in customer.lists("status=past")[0]["data"]}
    assert reasons[customer.ends["interrupted"]] == "client gone"
    assert reasons[customer.ends["terminated"]] == "terminated by operator"


def test_lists_are_filtered_by_key_engine_and_time(customer):
    first, second = customer.key["id"], customer.second_key["id"]
    assert customer.ids(f"key_id={second}") == [customer.of_second_key]
    assert customer.ids(f"key_id={first}&status=live") == [customer.live]
    assert customer.ids(f"key_id={first}&status=completed") == [customer.ends["completed"]]
    assert customer.ids("key_id=key_of_nobody") == []
    # Which engine spoke is known of past ones alone.
    assert customer.ids("engine=synthetic") == customer.ids("status=past")
    assert customer.ids("engine=deepgram") == []
    started = {one["id"]: one["started_at"] for one in customer.lists()[0]["data"]}
    for session, time in started.items():
        # The time that is shown is a bound that is exact to the millisecond.
        assert session in customer.ids(f"started_from={time}") and session not in customer.ids(f"started_before={time}")
    oldest, newest = min(started.values()), max(started.values())
    assert len(customer.ids(f"started_from={oldest}&started_before={newest}")) == len(started) - 1
    assert customer.ids(f"started_from={newest}&started_before={oldest}") == []
    assert customer.ids("started_from=2099-01-01T00:00:00%2B01:00") == []


@pytest.mark.parametrize("plane", ["own", "tenant", "all"])
@pytest.mark.parametrize(
    "query, status, pointer",
    [
        ("status=gone", 400, "status"), ("status=", 400, "status"), ("status=detached", 400, "status"),
        ("status=live&status=past", 400, "status"), ("key_id=", 400, "key_id"), ("engine=other", 400, "engine"),
        ("started_from=today", 400, "started_from"), ("started_before=2026-13-01T00:00:00Z", 400, "started_before"),
        ("limit=101", 400, "limit"), ("after=00", 400, "after"), ("status=live&engine=synthetic", 422, "engine"),
    ],
)
def test_a_query_that_is_wrong_is_told_where(customer, plane, query, status, pointer):
    path = {"own": OWN, "tenant": f"/v1/admin/tenants/{customer.tenant}/sessions", "all": ALL}[plane]
    answer = (customer.own if plane == "own" else customer.owner).call("GET", f"{path}?{query}")
    assert answer.status_code == status, answer.text
    assert answer.json()["errors"][0]["pointer"] == pointer
    operation({"own": "listSessions", "tenant": "listTenantSessions", "all": "listAllSessions"}[plane]).check(answer)


def test_pages_lead_through_all_while_sessions_begin_and_end(owner):
    customer = Customer(owner)
    with ThreadPoolExecutor(4) as pool:
        old = set(pool.map(lambda _: customer.listen("completed"), range(6)))
    session = ListenSession(owner.server, LINEAR16, key=customer.key["key"])
    wait_until(lambda: session.request_id in customer.ids("status=live"), 20, "it has its slot")
    old.add(session.request_id)
    path, seen = f"{OWN}?limit=2", []
    while path:
        page = customer.own.call("GET", path)
        seen += [one["id"] for one in page.json()["data"]]
        following = page.links.get("next", {}).get("url")
        assert page.json()["has_more"] == bool(following) == (page.json()["next_cursor"] is not None)
        if len(seen) == 2:
            session.finish()
            customer.listen("completed")
        path = following
    assert len(seen) == 7 and set(seen) == old and seen == sorted(seen, reverse=True)


def test_a_cursor_is_good_for_its_own_list_alone(customer):
    cursors = [page["next_cursor"] for page in customer.lists("limit=1")]
    assert all(cursors) and len(set(cursors)) == 3
    assert customer.own.call("GET", f"{OWN}?after={cursors[1]}").status_code == 400
    assert customer.owner.call("GET", f"{ALL}?after={cursors[0]}").status_code == 400


# Who sees what


def bare(answer) -> tuple:
    said = answer.json()
    return answer.status_code, said | {"request_id": len(said.pop("request_id", ""))}, sorted(answer.headers)


def test_a_key_sees_its_own_tenant_alone(owner, customer):
    stranger = Customer(owner)
    assert stranger.ids() == []
    for session in (customer.live, customer.of_second_key):
        theirs = stranger.own.call("GET", f"{OWN}/{session}")
        nobodys = stranger.own.call("GET", f"{OWN}/{UNKNOWN['session_id']}")
        assert bare(theirs) == bare(nobodys) and theirs.status_code == 404
        assert len(theirs.content) == len(nobodys.content)


def test_a_limited_token_sees_its_own_tenants_alone(owner, customer):
    other = Customer(owner)
    mine = other.listen("completed")
    limited = owner.with_role("viewer", tenants=[other.tenant])
    assert [one["id"] for one in limited.call("GET", ALL).json()["data"]] == [mine]
    assert limited.call("GET", f"{ALL}?status=live").json()["data"] == []
    assert limited.call("GET", f"{ALL}/{mine}").json()["id"] == mine
    nobodys = limited.call("GET", f"{ALL}/{UNKNOWN['session_id']}")
    assert nobodys.status_code == 404
    for session in (customer.live, customer.of_second_key, "x"):
        theirs = limited.call("GET", f"{ALL}/{session}")
        assert bare(theirs) == bare(nobodys) and len(theirs.content) == len(nobodys.content)
    listed = [limited.call("GET", f"{ALL}?tenant_id={tenant}") for tenant in (customer.tenant, str(uuid.uuid4()))]
    assert bare(listed[0]) == bare(listed[1]) and listed[0].status_code == 404


def test_all_tenants_sessions_are_one_list(owner, customer):
    seen = owner.call("GET", f"{ALL}?limit=100").json()["data"]
    assert len({one["tenant_id"] for one in seen}) > 1 and customer.live in [one["id"] for one in seen]
    ids = [one["id"] for one in seen]
    assert ids == sorted(ids, reverse=True)


# What is kept where


def test_a_past_session_outlives_what_the_connection_store_knows(owner, customer):
    session = customer.listen("completed")
    path = f"{OWN}/{session}"
    before = customer.own.call("GET", path).json()
    owner.server.database().query(f"DELETE FROM session_status WHERE session_id = '{session}'")
    assert customer.own.call("GET", path).json() == before
    assert customer.own.call("POST", path + "/terminate").status_code == 409


def test_what_ended_before_its_end_was_kept_is_told_so(owner, customer):
    session = customer.listen("completed")
    database = owner.server.database()
    database.query(f"DELETE FROM session_status WHERE session_id = '{session}'")
    database.query(
        "UPDATE usage_rows SET state = NULL, reason = NULL, finals = NULL, has_transcript = NULL "
        f"WHERE session_id = '{session}'"
    )
    (one,) = [each for each in customer.lists("status=past")[0]["data"] if each["id"] == session]
    assert (one["state"], one["reason"], one["transcript_url"], one["audio_ms"]) == ("unknown", None, None, 2000)
    assert session not in customer.ids("status=completed")


def test_a_session_is_storing_until_its_transcript_is_kept(own_server):
    server = own_server()
    customer = Customer(Operator.owner(server))
    folder = server.state_dir / "transcripts"
    customer.listen("completed")
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("in the way")
    session = customer.listen("completed")
    (one,) = customer.lists("status=storing")[0]["data"]
    assert one["id"] == session and one["transcript_url"] is None and session not in customer.ids("status=completed")
    folder.unlink()
    aside.rename(folder)
    wait_until(lambda: session in customer.ids("status=completed"), 30, "it is stored, and said to be")
    assert customer.ids("status=storing") == []
    assert customer.own.call("GET", f"{OWN}/{session}").json()["transcript_url"] == f"/v1/transcripts/{session}"


def test_what_a_killed_node_left_is_listed_as_interrupted(own_server):
    server = own_server()
    customer = Customer(Operator.owner(server))
    with ListenSession(server, LINEAR16, key=customer.key["key"]) as session:
        session.send(TWO_SECONDS)
        session.finalize()
        session.wait_for(lambda message: message["type"] == "Results")
        server.kill()
    server.start()
    (one,) = wait_until(lambda: customer.lists("status=interrupted")[0]["data"], 30, "it is listed")
    assert (one["id"], one["reason"]) == (session.request_id, "the node ended") and one["transcript_url"]


def test_a_node_says_whose_sessions_it_has(own_server):
    server = own_server()
    owner = Operator.owner(server)
    one, two = Customer(owner), Customer(owner)
    sessions = [ListenSession(server, LINEAR16, key=each.key["key"]) for each in (one, two, two)]
    (node,) = owner.call("GET", "/v1/admin/nodes").json()["data"]
    path = f"/v1/admin/nodes/{node['name']}"
    wait_until(lambda: owner.call("GET", path).json()["sessions"] == 3, 20, "all have their slots")
    answer = owner.call("GET", path)
    operation("getNode").check(answer)
    assert answer.json() == owner.call("GET", "/v1/admin/nodes").json()["data"][0] | {
        "tenants": [{"tenant_id": two.tenant, "sessions": 2}, {"tenant_id": one.tenant, "sessions": 1}]
    }
    for session in sessions:
        session.finish()
    wait_until(lambda: owner.call("GET", path).json()["tenants"] == [], 20, "all have ended")
    assert owner.call("GET", "/v1/admin/nodes/nowhere").status_code == 404
