"""What callers are told of things that are another tenant's: the same as of things that are nowhere, byte by byte."""

import contextlib
import itertools
import random
import re
import secrets
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Iterator

import requests
from websockets.exceptions import ConnectionClosed

from contract import Operation, names_in, resolved
from listen import ListenSession
from operators import UNKNOWN, Operator
from processes import wait_until

MONTH = re.compile("20[0-9]{2}-[0-9]{2}")
ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@dataclass
class Things:
    """What a tenant has that paths and queries may name: by the name of the parameter, any number of each."""

    owner: Operator
    tenant: str
    # Of the tenant, with every scope.
    holder: Operator
    of: dict[str, list[str]] = field(default_factory=dict)
    live: ListenSession | None = None

    def state(self) -> list:
        """All that a stranger might have changed."""
        path = f"/v1/admin/tenants/{self.tenant}"
        views = [self.owner.call("GET", path + rest).json() for rest in ("", "/keys", "/plans", "/invoices", "/credits", "/quotas")]
        views[-1].pop("use")
        # A node says now and then which keys were used.
        for key in views[1]["data"]:
            key.pop("last_used_at")
        views.append(self.owner.call("GET", f"/v1/admin/audit?tenant_id={self.tenant}").json())
        views += [
            [(session, answer.status_code, answer.json().get("state"), answer.json().get("results"))]
            for session in self.of["session_id"]
            for answer in [self.holder.call("GET", f"/v1/{kind}/{session}") for kind in ("sessions", "transcripts")]
        ]
        return views

# Those that are in nothing else that anybody is told, each once.
MONTHS = iter(random.sample([f"{year}-{month:02}" for year in range(2060, 2100) for month in range(1, 13)], 480))


def things_of_a_tenant(owner: Operator, name: str, scopes: list[str]) -> Things:
    """A tenant with two keys, a plan for a month, an invoice and a credit, a session that is over and one that lives until `live`
    is closed."""
    tenant = owner.tenant(name)
    key = owner.key(tenant, scopes=scopes)
    things = Things(owner, tenant, Operator(owner.server, key["key"]))
    wait_until(lambda: things.holder.call("GET", "/v1/sessions").ok, 10, "the key is known")
    with ListenSession(owner.server, key=key["key"]) as over:
        over.send(bytes(32_000))
        over.finish()
    wait_until(lambda: things.holder.call("GET", f"/v1/transcripts/{over.request_id}").ok, 20, "it is stored")
    things.live = ListenSession(owner.server, key=key["key"])
    things.live.send(bytes(32_000))
    threading.Thread(target=keep_open, args=(things.live,), daemon=True).start()
    wait_until(lambda: things.holder.call("GET", "/v1/sessions").json()["data"], 20, "it is live")
    revoked = owner.key(tenant, name="revoked")["id"]
    assert owner.call("POST", f"/v1/admin/tenants/{tenant}/keys/{revoked}/revoke").ok
    month = next(MONTHS)
    owner.assigned(tenant, month, month)
    invoiced = owner.invoiced(tenant)
    things.of = {
        "period": [invoiced], "for_period": [invoiced], "line": ["charge-0"], "credit_id": [owner.credited(tenant)],
        "from_period": [month],
        "tenant_id": [tenant], "key_id": [key["id"], revoked], "session_id": [over.request_id, things.live.request_id],
        # The same as Deepgram's SDKs call it.
        "project_id": [tenant], "request_id": [over.request_id], "accessor": [key["id"]],
        # In queries.
        "name": [name], "actor_id": [key["id"]], "target_id": [tenant, key["id"], over.request_id],
        "after": [over.request_id],
    }
    return things


def keep_open(session: ListenSession) -> None:
    """Until it is closed: calls may take longer than an idle session may last."""
    with contextlib.suppress(ConnectionClosed):
        while True:
            session.keep_alive()
            time.sleep(1)


def nowhere(identifier: str) -> str:
    """Like it, and nobody's: an id that holds a time keeps it, since lists are in that order."""
    if MONTH.fullmatch(identifier):
        # Nobody bills these.
        return f"{random.randrange(2021, 2025)}-{random.randrange(1, 13):02}"
    if identifier.startswith("key_"):
        return "key_" + "".join(secrets.choice(ALPHABET) for _ in identifier[4:])
    try:
        return identifier[:18] + str(uuid.uuid4())[18:] if uuid.UUID(identifier).version == 7 else str(uuid.uuid4())
    except ValueError:
        return "".join(secrets.choice(ALPHABET) for _ in identifier)


def told(answer: requests.Response) -> bytes:
    """All of an answer but for its date, how many calls the caller has left, and the call's own id, which problem details
    have in the body as well; and of reports as of when they are."""
    own = answer.headers["x-request-id"]
    passed_over = ("date", "ratelimit", "x-request-id", "data-as-of")
    kept = {name.lower(): value for name, value in answer.headers.items() if name.lower() not in passed_over}
    head = "".join(f"{name}: {value}\n" for name, value in sorted(kept.items()))
    body = re.sub(rb'"data_as_of":"[^"]*"', b"<time>", answer.content.replace(own.encode(), b"<request id>"))
    return f"{answer.status_code}\n{head}\n".encode() + body


@dataclass(frozen=True)
class Request:
    """One way to ask for an operation."""

    method: str
    path: str
    body: object = None
    query: tuple[str, str] | None = None
    # What its address must say besides.
    required: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()

    def ask(self, caller: Operator, names: dict[str, str]) -> requests.Response:
        path = self.path.format(**names)
        if self.query:
            params = dict(self.required) | dict([self.query])
            path = requests.Request("GET", "http://x" + path, params=params).prepare().url[8:]
        return caller.call(self.method, path, self.body, **dict(self.headers))


def ways(one: Operation) -> Iterator[Request]:
    """Every example of a body, and each parameter once, as the document has them; and bodies that are wrong."""
    examples = one.request_examples()
    yield from (Request(one.method, one.path, body) for body in examples)
    if examples != [None]:
        yield Request(one.method, one.path, {"junk": 1})
    if one.method == "GET":
        yield Request("HEAD", one.path)
    for parameter in one.parameters:
        name, schema = parameter["name"], resolved(parameter["schema"])
        if name == "If-Match":
            yield Request(one.method, one.path, examples[0], headers=((name, '"r7"'),))
        if parameter["in"] == "query":
            for value in schema.get("enum") or [schema.get("default", schema.get("minimum"))]:
                if value is not None:
                    yield Request(one.method, one.path, query=(name, str(value)))


def is_foreign(name: str, value: str, mine: Things, theirs: Things) -> bool:
    """Not where both have one of that name, such as the first charge of a bill."""
    return value in theirs.of[name] and value not in mine.of[name]


def combinations(one: Operation, mine: Things, theirs: Things) -> Iterator[dict[str, str]]:
    """Names for its path with at least one of theirs. What a new path names must be added to `Things.of`."""
    parts = names_in(one.path)
    choices = [[(name, value) for things in (mine, theirs) for value in things.of[name]] for name in parts]
    for chosen in itertools.product(*choices):
        names = dict(chosen)
        # An operator may ask what any month would be of a tenant within reach, so that no month is another's.
        if "for_period" in names and names.get("tenant_id") == mine.tenant:
            continue
        if any(is_foreign(name, value, mine, theirs) for name, value in chosen):
            yield names


def foreign_replaced(names: dict[str, str], mine: Things, theirs: Things) -> dict[str, str]:
    return {name: nowhere(value) if is_foreign(name, value, mine, theirs) else value for name, value in names.items()}


def check_paths(caller: Operator, one: Operation, mine: Things, theirs: Things, status: int = 404) -> int:
    """Asks in all ways for what is theirs and for what is nowhere; how many pairs there were."""
    pairs = 0
    for names in combinations(one, mine, theirs):
        for way in ways(one):
            about_theirs, about_nothing = (way.ask(caller, which) for which in (names, foreign_replaced(names, mine, theirs)))
            place = f"{one.id}, {way}, {names}"
            assert told(about_theirs) == told(about_nothing), place
            # Whether a wrong body or a missing thing is said first is the server's choice, as long as it is the same.
            expected = {status} if way.body != {"junk": 1} else {status, 400}
            assert about_theirs.status_code in expected, f"{place}: {about_theirs.status_code} {about_theirs.text}"
            if way.method != "HEAD":
                one.check(about_theirs)
            pairs += 1
    return pairs


def check_queries(caller: Operator, one: Operation, theirs: Things) -> int:
    """Filters and cursors that name what is theirs, where the path has no name."""
    pairs = 0
    for parameter in one.parameters:
        if parameter["in"] != "query":
            continue
        for value in theirs.of.get(parameter["name"], []):
            required = tuple((name, UNKNOWN[name]) for name in one.required_query)
            ask = [
                Request(one.method, one.path, query=(parameter["name"], text), required=required)
                for text in (value, nowhere(value))
            ]
            about_theirs, about_nothing = (told(one.ask(caller, {})) for one in ask)
            assert about_theirs == about_nothing, f"{one.id}: {parameter['name']}={value}"
            pairs += 1
    return pairs
