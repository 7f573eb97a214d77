"""What befalls a fleet on AWS: wrong settings, and an AWS that goes away, throttles or forgets credentials.

Nothing of it loses a transcript or a count, admits above a limit or closes a running stream; each is said, not often.
"""

import contextlib
import time
from datetime import timedelta

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus

import aws_faults
import speech
from aws_policies import policy, user_with
from aws_state import make_bucket
from fleet import Fleet, check_quiet, is_reachable, metric, said, wait_for_state, wait_until_reachable
from listen import LINEAR16, ListenSession, handshake, refusal, token, transcript_of
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

INTERIM = LINEAR16 | {"interim_results": "true"}
# Warnings and errors of one fault: one by each part of the node that met it, and none again and again.
MOST_LINES = 4


def check_said(node, *words: str) -> None:
    """It is said, and not over and over."""
    assert said(node, *words) and len(said(node)) <= MOST_LINES, [record.get("message") for record in said(node)]


def check_nobody_is_admitted(node) -> None:
    """Whoever comes beyond the limit, which is one session, hears nothing, whatever befalls AWS."""
    try:
        with ListenSession(node, INTERIM) as other:
            try:
                other.send(speech.pcm("goforward.wav"))
            except ConnectionClosed:
                pass
            assert other.wait_closed()[0] in (1008, 1013)
            assert other.messages("Results") == []
    except InvalidStatus as refused:
        assert refused.response.status_code in (429, 503)

# Bad settings: one clear line, and refusals that a client may retry


WRONG = {
    "no such key": lambda key: {"AWS_ACCESS_KEY_ID": "AKIAUNKNOWNUNKNOWN12"},
    "wrong secret": lambda key: {"AWS_SECRET_ACCESS_KEY": "x" * 40},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_wrong_credentials(fleet, table, bucket, node_key, wrong):
    check_unready(fleet, "credentials", **WRONG[wrong](node_key))


def test_no_table(fleet, bucket, resources):
    check_unready(fleet, resources.table, "aws init")


def test_wrong_region(fleet, table, bucket):
    check_unready(fleet, "region", AWS_REGION="us-east-2")


def missing(aws, resources, s3_proxy):
    aws.client("s3").delete_bucket(Bucket=resources.bucket)
    return [resources.bucket, "aws init"], lambda: make_bucket(aws.client("s3"), resources.bucket, resources.prefix)


def elsewhere(aws, resources, s3_proxy):
    rule = s3_proxy.fault(aws_faults.other_region("eu-central-1"))
    return [resources.bucket, "AWS_REGION=eu-central-1"], lambda: s3_proxy.clear(rule)


def forbidden(aws, resources, s3_proxy):
    rule = s3_proxy.fault(aws_faults.error(403, "AccessDenied"))
    return [resources.bucket, "policy must allow s3:"], lambda: s3_proxy.clear(rule)


@pytest.mark.parametrize("trouble", [missing, elsewhere, forbidden])
def test_a_bucket_that_cannot_be_used(aws, fleet, table, bucket, resources, s3_proxy, trouble):
    """A node serves without one, says once what to do, and keeps the transcripts until it is done."""
    words, mend = trouble(aws, resources, s3_proxy)
    node = fleet.start("one")
    assert not is_reachable(node, "transcripts")
    with ListenSession(node) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    wait_for_state(fleet, table, session.request_id, "storing")
    check_quiet(fleet, table)
    time.sleep(5)
    # By each part of the node that met it: transcripts, and the heads of the audit log beside them.
    messages = [record["message"] for record in said(node, *words)]
    assert any("transcripts wait" in message for message in messages), node.log()[-3000:]
    assert len(said(node)) == len(messages) == len(set(messages)), node.log()[-3000:]
    mend()
    wait_for_state(fleet, table, session.request_id, "completed")
    wait_until_reachable(node, "transcripts")
    assert bucket.transcript(session.request_id) == node.transcript(session.request_id)


def test_a_bucket_that_is_made_later(aws, fleet, table, bucket, resources, s3_proxy):
    """That it is back shows although nothing waits for it."""
    _, mend = missing(aws, resources, s3_proxy)
    node = fleet.start("one")
    assert not is_reachable(node, "transcripts")
    mend()
    wait_until_reachable(node, "transcripts")


def test_access_denied(aws, fleet, table, bucket, resources):
    narrow = policy("node", resources)
    narrow["Statement"] = narrow["Statement"][2:]
    key = user_with(aws, narrow, "narrow")
    check_unready(fleet, "dynamodb:", "policy", **key.environment())


IMPOSTORS = [aws_faults.captive_portal, aws_faults.captive_redirect]


@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_who_answers_is_not_s3(fleet, table, bucket, s3_proxy, impostor):
    """A success that is not S3's has stored nothing: the transcript waits."""
    node = fleet.start("one")
    rule = s3_proxy.fault(impostor, lambda request: request.method == "PUT")
    with ListenSession(node) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    wait_for_state(fleet, table, session.request_id, "storing")
    assert bucket.key_of(session.request_id) is None
    wait_until(lambda: said(node, "is not AWS", "HANSARD_TRANSCRIPTS"), 20, "it is said")
    assert not said(node, "region")
    s3_proxy.clear(rule)
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    assert bucket.transcript(session.request_id) == node.transcript(session.request_id)


@pytest.mark.parametrize("impostor", IMPOSTORS)
def test_who_answers_is_not_dynamodb(fleet, table, bucket, dynamodb_proxy, impostor):
    """A success that is not DynamoDB's has claimed nothing."""
    fleet.limit_sessions(1)
    node = fleet.start("one")
    rule = dynamodb_proxy.fault(impostor, aws_faults.operation("TransactWriteItems"))
    for _ in range(2):
        check_nobody_is_admitted(node)
    assert table.all_leases() == [] and table.counter(fleet.tenant) == 0
    dynamodb_proxy.clear(rule)
    wait_until_reachable(node, "connections")
    check_quiet(fleet, table)
    with ListenSession(node) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    check_quiet(fleet, table)


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_off(fleet, table, bucket, dynamodb_proxy, s3_proxy, minutes):
    """Either it is corrected by AWS's time, or said; a session is never left waiting."""
    for proxy in (dynamodb_proxy, s3_proxy):
        proxy.fault(aws_faults.clock(timedelta(minutes=minutes)))
    node = fleet.start("one")
    check_said(node, "clock")
    with ListenSession(node) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    wait_for_state(fleet, table, session.request_id, "completed")
    # A tombstone lives ten minutes by the clock of those who expire it.
    grave = table.item(f"T#{fleet.tenant}", f"L#{session.request_id}")
    assert 8 * 60 < int(grave["ttl"]) - (time.time() + 60 * minutes) < 11 * 60


def check_unready(fleet: Fleet, *words: str, **settings: str) -> None:
    """It does not start, or is not ready; it says why, and not over and over."""
    try:
        node = fleet.start("one", **settings)
    except AssertionError:
        node = fleet.nodes[-1]
        # What ends the process is a line for people, not a record.
        lines = node.log().lower().splitlines()
        assert any(all(word.lower() in line for word in words) for line in lines) and len(lines) <= 10, node.log()
        return
    assert node.get("/readyz").status_code == 503
    refusal(handshake(node, headers=token(node.key)), 503)
    time.sleep(10)
    check_said(node, *words)


# AWS goes away under a running session


@pytest.fixture
def speaking(fleet, table, bucket):
    """A node, and a session on it that has had its first final and is all that its tenant may have."""
    fleet.limit_sessions(1)
    node = fleet.start("one", HANSARD_ENGINE="pocketsphinx", HANSARD_ENGINE_SLOTS="2")
    with ListenSession(node, INTERIM) as session:
        session.send(speech.joined("goforward.wav", 1.5).tobytes(), pace=2)
        session.wait_for(lambda message: message.get("is_final") and transcript_of(message))
        yield node, session


def goes_on(session: ListenSession) -> None:
    before = len([final for final in session.finals() if transcript_of(final)])
    session.send(speech.joined("goforward.wav", 1.5).tobytes(), pace=2)
    wait_until(lambda: len(list(filter(transcript_of, session.finals()))) > before, 30, "another final has come")


def keep_open(session: ListenSession, seconds: float) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        session.keep_alive()
        time.sleep(min(3, max(0, end - time.monotonic())))


@pytest.mark.parametrize("seconds", [8, pytest.param(120, marks=pytest.mark.long)])
def test_dynamodb_is_away(fleet, speaking, table, bucket, dynamodb_proxy, seconds):
    node, session = speaking
    dynamodb_proxy.go_away()
    goes_on(session)
    wait_until_reachable(node, "connections", False)
    refusal(wait_for_refusal(node), 503)
    keep_open(session, seconds)
    goes_on(session)
    check_nobody_is_admitted(node)
    session.finish()
    check_said(node, "connection store")
    dynamodb_proxy.come_back()
    wait_until_reachable(node, "connections")
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    check_quiet(fleet, table)
    assert bucket.transcript(session.request_id)["complete"] is True


@pytest.mark.parametrize("setting", ["of the node", "of the tenant"])
def test_who_may_begin_without_a_slot_does_while_dynamodb_is_away(fleet, table, bucket, dynamodb_proxy, setting):
    """The limit is exceeded by those who come then; they get slots as soon as there are some."""
    fleet.limit_sessions(2)
    if setting == "of the tenant":
        fleet.database.query("UPDATE tenants SET admit_unclaimed = 'allow' RETURNING 1")
    node = fleet.start("one", HANSARD_ADMIT_UNCLAIMED="allow" if setting == "of the node" else "refuse")
    ready = 200 if setting == "of the node" else 503
    with ListenSession(node, INTERIM) as before, contextlib.ExitStack() as stack:
        before.send(bytes(32_000))
        before.wait_for(lambda message: message["type"] == "Results")
        dynamodb_proxy.go_away()
        # The first may come before anybody has noticed: it begins once its claim has got no answer.
        unclaimed = [stack.enter_context(ListenSession(node, INTERIM)) for _ in range(3)]
        for session in unclaimed:
            session.send(bytes(32_000))
            session.wait_for(lambda message: message["type"] == "Results")
        wait_until_reachable(node, "connections", False)
        assert node.get("/readyz").status_code == ready
        assert metric(node, "hansard_sessions_unclaimed") == metric(node, "hansard_sessions_unclaimed_total") == 3
        assert handshake(node, headers=token(node.key)).status == 101
        wait_until(lambda: metric(node, "hansard_sessions_active") == 4, 20, "who only looked is gone")
        dynamodb_proxy.come_back()
        wait_until_reachable(node, "connections")
        wait_until(lambda: len(table.all_leases()) == 2, 20, "one of the three has a slot")
        assert table.counter(fleet.tenant) == 2, "and none above the limit"
        for session in [before, *unclaimed]:
            session.send(bytes(32_000))
            session.finish()
            assert session.messages("Metadata")[-1]["duration"] == 2
    for session in [before, *unclaimed]:
        wait_for_state(fleet, table, session.request_id, "completed")
        usage = wait_until(lambda: fleet.database.usage(session.request_id), 30, "its usage is recorded")
        assert usage["audio_ms"] == 2_000
    check_quiet(fleet, table)


def wait_for_refusal(node):
    return wait_until(
        lambda: (answer := handshake(node, headers=token(node.key))).status != 101 and answer, 20, "it refuses"
    )


@pytest.mark.parametrize("seconds", [5, pytest.param(30, marks=pytest.mark.long)])
def test_dynamodb_throttles(fleet, speaking, table, dynamodb_proxy, seconds):
    node, session = speaking
    rule = dynamodb_proxy.fault(aws_faults.throttle)
    goes_on(session)
    keep_open(session, seconds)
    assert not is_reachable(node, "connections")
    check_nobody_is_admitted(node)
    assert len(rule.hits) < seconds * 20, "retries are not a storm"
    check_said(node, "fewer calls")
    dynamodb_proxy.clear(rule)
    wait_until_reachable(node, "connections")
    goes_on(session)
    check_nobody_is_admitted(node)
    session.finish()
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    check_quiet(fleet, table)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (aws_faults.expired_token, "credentials have expired"),
        (aws_faults.error(403, "InvalidAccessKeyId"), "credentials are wrong"),
        (aws_faults.error(400, "AccessDeniedException"), "policy must allow dynamodb:"),
    ],
    ids=["expired", "revoked", "denied"],
)
def test_credentials_fail_under_a_session(fleet, speaking, table, bucket, dynamodb_proxy, s3_proxy, fault, words):
    node, session = speaking
    rules = [(proxy, proxy.fault(fault)) for proxy in (dynamodb_proxy, s3_proxy)]
    goes_on(session)
    wait_until_reachable(node, "connections", False)
    check_nobody_is_admitted(node)
    session.finish()
    wait_until_reachable(node, "transcripts", False)
    time.sleep(5)
    check_said(node, words)
    for proxy, rule in rules:
        proxy.clear(rule)
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    check_quiet(fleet, table)
    wait_until_reachable(node, "transcripts")
    assert bucket.transcript(session.request_id)["complete"] is True


@pytest.mark.parametrize("seconds", [5, pytest.param(120, marks=pytest.mark.long)])
@pytest.mark.parametrize("is_back", [True, False], ids=["back before the start", "away at the start"])
def test_s3_is_away_and_the_node_is_restarted(fleet, speaking, table, bucket, s3_proxy, seconds, is_back):
    node, session = speaking
    s3_proxy.go_away()
    goes_on(session)
    check_nobody_is_admitted(node)
    session.finish()
    wait_for_state(fleet, table, session.request_id, "storing")
    assert not is_reachable(node, "transcripts")
    check_quiet(fleet, table)
    time.sleep(seconds)
    check_said(node, "bucket")
    node.kill_at_once()
    ids = [session.request_id]
    if is_back:
        s3_proxy.come_back()
        node.start()
    else:
        node.start()
        ids.append(session_without_s3(fleet, table, node, s3_proxy))
    for one in ids:
        wait_for_state(fleet, table, one, "completed", 60)
        document = bucket.transcript(one)
        assert document["complete"] is True and document == node.transcript(one)
    wait_until_reachable(node, "transcripts")


def session_without_s3(fleet: Fleet, table, node, s3_proxy) -> str:
    """One that begins while S3 is away, and goes on when it comes back."""
    assert not is_reachable(node, "transcripts")
    with ListenSession(node, INTERIM) as session:
        goes_on(session)
        check_nobody_is_admitted(node)
        s3_proxy.come_back()
        goes_on(session)
        session.finish()
    assert len(said(node)) <= 2 * MOST_LINES, "the log is of both lives"
    return session.request_id
