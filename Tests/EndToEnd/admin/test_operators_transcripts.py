"""What operators may do with tenants' transcripts, and that whoever reads or erases one is on record."""

import uuid

import pytest

from contract import operation
from listen import LINEAR16, ListenSession
from operators import UNKNOWN, Operator
from processes import wait_until

TRANSCRIPTS = "/v1/admin/transcripts"


@pytest.fixture(scope="module")
def owner(synthetic_server) -> Operator:
    return Operator.owner(synthetic_server)


class Speaker:
    """A tenant that has said something."""

    def __init__(self, owner: Operator, times: int = 1):
        self.owner = owner
        self.tenant = owner.tenant()
        self.key = owner.key(self.tenant)["key"]
        self.sessions = [self.speak() for _ in range(times)]
        self.session = self.sessions[-1]

    def speak(self) -> str:
        with ListenSession(self.owner.server, LINEAR16, key=self.key) as session:
            session.send(bytes(96_000))
            session.finish()
        path = f"{TRANSCRIPTS}/{session.request_id}"
        answer = wait_until(lambda: (got := self.owner.call("GET", path)).ok and got, 20, "it is stored")
        operation("getTenantTranscript").check(answer)
        return session.request_id

    def log(self, action: str) -> list[dict]:
        """Entries of the tenant's chain, oldest first."""
        path = f"/v1/admin/audit?tenant_id={self.tenant}&action={action}&limit=100"
        assert self.owner.call("GET", f"/v1/admin/audit/verify?tenant_id={self.tenant}").json()["is_intact"]
        return self.owner.call("GET", path).json()["data"][::-1]


@pytest.fixture(scope="module")
def speaker(owner) -> Speaker:
    return Speaker(owner, times=5)


@pytest.mark.parametrize("form", ["json", "txt", "srt", "vtt"])
def test_every_form_is_what_the_tenant_gets(owner, speaker, form):
    own = Operator(owner.server, speaker.key).call("GET", f"/v1/transcripts/{speaker.session}?format={form}")
    seen = owner.call("GET", f"{TRANSCRIPTS}/{speaker.session}?format={form}")
    assert seen.status_code == 200 and seen.content == own.content and seen.content
    assert seen.headers["content-type"] == own.headers["content-type"]
    operation("getTenantTranscript").check(seen)


def test_they_are_listed_by_tenant_newest_first(owner, speaker):
    path, seen = f"{TRANSCRIPTS}?tenant_id={speaker.tenant}&limit=2", []
    while path:
        page = owner.call("GET", path)
        operation("listTenantTranscripts").check(page)
        for entry in page.json()["data"]:
            assert owner.call("GET", entry["url"]).json()["started_at"] == entry["started_at"]
            seen.append(entry["session_id"])
        path = page.links.get("next", {}).get("url")
    assert seen == speaker.sessions[::-1]


@pytest.mark.parametrize(
    "query, status, pointer",
    [
        ("", 400, "tenant_id"), ("tenant_id=x", 400, "tenant_id"), ("limit=2", 400, "tenant_id"),
        (f"tenant_id={uuid.UUID(int=7)}", 404, None), (f"tenant_id={uuid.UUID(int=7)}&limit=0", 400, "limit"),
        (f"tenant_id={uuid.UUID(int=7)}&after=00", 400, "after"), (f"tenant_id={uuid.UUID(int=7)}&x=1", 400, "x"),
    ],
)
def test_a_list_that_cannot_be_is_told_why(owner, query, status, pointer):
    answer = owner.call("GET", f"{TRANSCRIPTS}?{query}")
    assert answer.status_code == status, answer.text
    assert answer.json().get("errors", [{"pointer": None}])[0]["pointer"] == pointer
    operation("listTenantTranscripts").check(answer)


@pytest.mark.parametrize("query", ["format=pdf", "format=", "format=json&format=txt", "valid_seconds=5"])
def test_a_form_that_is_none_is_refused(owner, speaker, query):
    assert owner.call("GET", f"{TRANSCRIPTS}/{speaker.session}?{query}").status_code == 400


def test_who_reads_is_on_record(owner):
    speaker = Speaker(owner)
    before = len(speaker.log("transcript.read"))
    reader = owner.with_role("viewer")
    answer = reader.call("GET", f"{TRANSCRIPTS}/{speaker.session}?format=txt")
    entry = speaker.log("transcript.read")[-1]
    assert len(speaker.log("transcript.read")) == before + 1
    assert entry["request_id"] == answer.headers["x-request-id"] and entry["outcome"] == "done"
    assert entry["target"] == {"type": "transcript", "id": speaker.session}
    # What was not there was not read.
    owner.call("GET", f"{TRANSCRIPTS}/{UNKNOWN['session_id']}")
    assert len(speaker.log("transcript.read")) == before + 1


def test_what_is_erased_is_on_record_and_gone(owner):
    speaker = Speaker(owner, times=2)
    erased, kept = speaker.sessions
    name = str(uuid.uuid4())
    answers = [owner.call("DELETE", f"{TRANSCRIPTS}/{erased}", Idempotency_Key=name) for _ in range(2)]
    for answer in answers:
        assert answer.status_code == 204
        operation("deleteTenantTranscript").check(answer)
    assert answers[1].headers["Idempotent-Replayed"] == "true"
    (entry,) = speaker.log("transcript.delete")
    assert entry["request_id"] == answers[0].headers["x-request-id"]
    assert entry["target"] == {"type": "transcript", "id": erased}
    assert owner.call("DELETE", f"{TRANSCRIPTS}/{erased}").status_code == 404
    assert owner.call("DELETE", f"{TRANSCRIPTS}/{kept}", Idempotency_Key=name).status_code == 422
    own = Operator(owner.server, speaker.key)
    assert own.call("GET", f"/v1/transcripts/{erased}").status_code == 404
    listed = owner.call("GET", f"{TRANSCRIPTS}?tenant_id={speaker.tenant}").json()["data"]
    assert [one["session_id"] for one in listed] == [kept]


def test_what_cannot_be_erased_now_is_told_so(own_server):
    server = own_server()
    speaker = Speaker(Operator.owner(server))
    folder = server.state_dir / "transcripts"
    aside = folder.rename(folder.with_name("aside"))
    folder.write_text("in the way")
    path = f"{TRANSCRIPTS}/{speaker.session}"
    for method in ("GET", "DELETE"):
        answer = speaker.owner.call(method, path)
        assert answer.status_code == 503, answer.text
    folder.unlink()
    aside.rename(folder)
    assert speaker.log("transcript.delete") == []
    assert speaker.owner.call("DELETE", path).status_code == 204


@pytest.mark.parametrize("method, path", [("GET", ""), ("GET", "/download"), ("DELETE", "")])
def test_a_limited_token_cannot_tell_anothers_from_none(owner, speaker, method, path):
    mine = Speaker(owner)
    limited = owner.with_role("operator", tenants=[mine.tenant])
    answers = [
        limited.call(method, f"{TRANSCRIPTS}/{session}{path}")
        for session in (speaker.session, UNKNOWN["session_id"], "not-an-id", str(uuid.uuid4()))
    ]
    texts = {answer.text.replace(answer.headers["x-request-id"], "-") for answer in answers}
    assert {answer.status_code for answer in answers} == {404} and len(texts) == 1
    assert len({tuple(sorted(answer.headers)) for answer in answers}) == 1
    assert limited.call("GET", f"{TRANSCRIPTS}/{mine.session}").status_code == 200
    theirs, nobodys = (
        limited.call("GET", f"{TRANSCRIPTS}?tenant_id={tenant}") for tenant in (speaker.tenant, UNKNOWN["tenant_id"])
    )
    assert theirs.status_code == nobodys.status_code == 404 and len(theirs.content) == len(nobodys.content)
    assert owner.call("GET", f"{TRANSCRIPTS}/{speaker.session}").status_code == 200, "nothing was erased"


def test_a_deleted_tenants_are_gone_at_once(owner):
    speaker = Speaker(owner)
    assert owner.call("DELETE", f"/v1/admin/tenants/{speaker.tenant}").status_code == 204
    for method in ("GET", "DELETE"):
        assert owner.call(method, f"{TRANSCRIPTS}/{speaker.session}").status_code == 404
    assert owner.call("GET", f"{TRANSCRIPTS}?tenant_id={speaker.tenant}").status_code == 404
