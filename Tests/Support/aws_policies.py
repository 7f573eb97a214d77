"""The policies of deploy/iam, filled in, and users of an emulator who have nothing but them."""

import copy
import json
import re
from dataclasses import dataclass

from aws_emulators import REGION, AccessKey, Emulator, Moto
from places import PROJECT

FOLDER = PROJECT / "deploy" / "iam"


@dataclass(frozen=True)
class Resources:
    """What the policies' placeholders stand for."""

    table: str
    bucket: str
    prefix: str
    account: str
    region: str = REGION


def policy(name: str, resources: Resources) -> dict:
    """`node` or `init` with its placeholders filled in, as deploy/iam/README.md says."""
    text = (FOLDER / f"{name}.json").read_text()
    if not resources.prefix:
        text = text.replace("PREFIX/", "")
    values = {
        "TABLE": resources.table,
        "BUCKET": resources.bucket,
        "PREFIX": resources.prefix,
        "ACCOUNT": resources.account,
        "REGION": resources.region,
    }
    return json.loads(re.sub(r"\b(TABLE|BUCKET|PREFIX|ACCOUNT|REGION)\b", lambda found: values[found[0]], text))


def actions(document: dict) -> list[tuple[int, str]]:
    """Each with the number of its statement, since one action may be allowed in two."""
    return [(number, action) for number, one in enumerate(document["Statement"]) for action in one["Action"]]


def without(document: dict, action: str, statement: int | None = None) -> dict:
    """The policy with an action taken out of one statement, or out of all."""
    changed = copy.deepcopy(document)
    for number, one in enumerate(changed["Statement"]):
        if statement in (None, number):
            one["Action"] = [allowed for allowed in one["Action"] if allowed != action]
    # IAM takes no statement without actions, and ministack takes one to allow every action.
    changed["Statement"] = [one for one in changed["Statement"] if one["Action"]]
    assert changed != document, f"{action} is not in statement {statement}"
    return changed


def for_moto(document: dict) -> dict:
    """What moto can judge of a policy: its actions.

    Where a service's responses name no resource it compares with `*`, and no condition ever holds. Of a transaction it
    asks for `dynamodb:TransactWriteItems`, an action that AWS does not have, and not for those of the writes in it.
    """
    allowed = sorted({action for statement in document["Statement"] for action in statement["Action"]})
    allowed.append("dynamodb:TransactWriteItems")
    return {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": allowed, "Resource": "*"}]}


def user_with(emulator: Emulator, document: dict, name: str = "node") -> AccessKey:
    """A user who may do what the policy says and nothing else, once the emulator checks. Replaces one of that name."""
    iam = emulator.client("iam")
    if isinstance(emulator, Moto):
        # Nobody may make users while it checks.
        emulator.enforce(False)
        document = for_moto(document)
    if name not in [user["UserName"] for user in iam.list_users()["Users"]]:
        iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="only", PolicyDocument=json.dumps(document))
    made = iam.create_access_key(UserName=name)["AccessKey"]
    if isinstance(emulator, Moto):
        emulator.enforce()
    return AccessKey(made["AccessKeyId"], made["SecretAccessKey"])


def role_with(emulator: Emulator, document: dict, name: str = "node", federated: str | None = None) -> str:
    """A role's ARN: for whoever asks STS or, if `federated` names a provider's ARN, for its web identities."""
    iam = emulator.client("iam")
    principal, action = {"AWS": "*"}, "sts:AssumeRole"
    if federated:
        principal, action = {"Federated": federated}, "sts:AssumeRoleWithWebIdentity"
    trust = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Principal": principal, "Action": action}]}
    role = iam.create_role(RoleName=name, AssumeRolePolicyDocument=json.dumps(trust))["Role"]
    iam.put_role_policy(RoleName=name, PolicyName="only", PolicyDocument=json.dumps(document))
    return role["Arn"]


def session_of(emulator: Emulator, role: str, seconds: int = 900) -> AccessKey:
    """Temporary credentials of a role."""
    given = emulator.client("sts").assume_role(RoleArn=role, RoleSessionName="session", DurationSeconds=seconds)
    found = given["Credentials"]
    return AccessKey(found["AccessKeyId"], found["SecretAccessKey"], found["SessionToken"])
