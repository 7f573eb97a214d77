"""What befalls a fleet on AWS: wrong settings, and an AWS that goes away, throttles or forgets credentials.

Nothing of it loses a transcript or a count, admits above a limit or closes a running stream; each is said, not often.
"""

import time
from datetime import timedelta

import pytest

import aws_faults
import speech
from aws_policies import policy, user_with
from fleet import Fleet, check_quiet, said, wait_for_state
from listen import LINEAR16, ListenSession, handshake, refusal, token, transcript_of
from processes import wait_until

pytestmark = pytest.mark.parametrize("aws", ["ministack"], indirect=True)

INTERIM = LINEAR16 | {"interim_results": "true"}

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


def test_no_bucket(fleet, table, resources):
    check_unready(fleet, resources.bucket)


def test_wrong_region(fleet, table, bucket):
    check_unready(fleet, "region", AWS_REGION="us-east-2")


def test_access_denied(aws, fleet, table, bucket, resources):
    narrow = policy("node", resources)
    narrow["Statement"] = narrow["Statement"][2:]
    key = user_with(aws, narrow, "narrow")
    check_unready(fleet, "dynamodb:", "policy", **key.environment())


@pytest.mark.parametrize("minutes", [-10, 10])
def test_a_clock_that_is_off(fleet, table, bucket, dynamodb_proxy, s3_proxy, minutes):
    """Either it is corrected by AWS's time, or said; a session is never left waiting."""
    for proxy in (dynamodb_proxy, s3_proxy):
        proxy.fault(aws_faults.clock(timedelta(minutes=minutes)))
    node = fleet.start("one")
    assert said(node, "clock")
    with ListenSession(node) as session:
        session.send(speech.pcm("goforward.wav"))
        session.finish()
    wait_for_state(fleet, table, session.request_id, "completed")


def check_unready(fleet: Fleet, *words: str, **settings: str) -> None:
    """It does not start, or is not ready; it says why, and not over and over."""
    try:
        node = fleet.start("one", **settings)
    except AssertionError:
        node = fleet.nodes[-1]
        assert all(word.lower() in node.log().lower() for word in words), node.log()[-3000:]
        return
    assert node.get("/readyz").status_code == 503
    refusal(handshake(node, headers=token(node.key)), 503)
    time.sleep(10)
    assert 1 <= len(said(node, *words)) <= 3, node.log()[-3000:]


# AWS goes away under a running session


@pytest.fixture
def speaking(fleet, table, bucket):
    """A node, and a session on it that has had its first final."""
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


@pytest.mark.parametrize("seconds", [20, pytest.param(120, marks=pytest.mark.long)])
def test_dynamodb_is_away(fleet, speaking, table, bucket, dynamodb_proxy, seconds):
    node, session = speaking
    dynamodb_proxy.go_away()
    goes_on(session)
    refusal(wait_for_refusal(node), 503)
    keep_open(session, seconds)
    goes_on(session)
    session.finish()
    dynamodb_proxy.come_back()
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    check_quiet(fleet, table)
    assert bucket.transcript(session.request_id)["complete"] is True
    assert len(said(node, "dynamodb")) <= 10, "a flood"


def wait_for_refusal(node):
    return wait_until(
        lambda: (answer := handshake(node, headers=token(node.key))).status != 101 and answer, 20, "it refuses"
    )


@pytest.mark.parametrize("seconds", [15, pytest.param(30, marks=pytest.mark.long)])
def test_dynamodb_throttles(fleet, speaking, table, dynamodb_proxy, seconds):
    node, session = speaking
    rule = dynamodb_proxy.fault(aws_faults.throttle)
    goes_on(session)
    keep_open(session, seconds)
    assert len(rule.hits) < seconds * 20, "retries are not a storm"
    dynamodb_proxy.clear(rule)
    goes_on(session)
    session.finish()
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    check_quiet(fleet, table)


def test_a_token_expires_under_a_session(fleet, speaking, table, dynamodb_proxy, s3_proxy):
    node, session = speaking
    rules = [(proxy, proxy.fault(aws_faults.expired_token)) for proxy in (dynamodb_proxy, s3_proxy)]
    goes_on(session)
    keep_open(session, 5)
    assert said(node, "expired")
    for proxy, rule in rules:
        proxy.clear(rule)
    session.finish()
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    check_quiet(fleet, table)


@pytest.mark.parametrize("seconds", [5, pytest.param(120, marks=pytest.mark.long)])
def test_s3_is_away_and_the_node_is_restarted(fleet, speaking, table, bucket, s3_proxy, seconds):
    node, session = speaking
    s3_proxy.go_away()
    session.finish()
    wait_for_state(fleet, table, session.request_id, "storing")
    check_quiet(fleet, table)
    time.sleep(seconds)
    node.kill_at_once()
    s3_proxy.come_back()
    node.start()
    wait_for_state(fleet, table, session.request_id, "completed", 60)
    document = bucket.transcript(session.request_id)
    assert document["complete"] is True and document == node.transcript(session.request_id)
