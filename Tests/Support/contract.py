"""openapi.yaml as tests read it: its operations, and whether an answer is one that it describes."""

import re
from dataclasses import dataclass
from functools import cache

import requests
import yaml
from jsonschema import Draft202012Validator, FormatChecker

from places import PROJECT

DOCUMENT = PROJECT / "openapi.yaml"
METHODS = ("get", "put", "post", "delete", "patch")
# Fields of bodies that must be of something, or of nothing else.
REFERENCES = ("name", "plan_id", "version")


@cache
def document() -> dict:
    return yaml.safe_load(DOCUMENT.read_text())


def resolved(node: dict) -> dict:
    while "$ref" in node:
        reference, node = node["$ref"], document()
        for name in reference.removeprefix("#/").split("/"):
            node = node[name]
    return node


@dataclass(frozen=True)
class Operation:
    method: str
    path: str
    item: dict
    node: dict

    @property
    def id(self) -> str:
        return self.node["operationId"]

    @property
    def roles(self) -> list[str] | None:
        return self.node.get("x-roles")

    @property
    def scopes(self) -> list[str] | None:
        return self.node.get("x-scopes")

    @property
    def parameters(self) -> list[dict]:
        return [resolved(one) for one in self.item.get("parameters", []) + self.node.get("parameters", [])]

    @property
    def required_query(self) -> list[str]:
        """The names of what its address must say after `?`."""
        return [one["name"] for one in self.parameters if one["in"] == "query" and one.get("required")]

    def needs(self, header: str) -> bool:
        return any(one["name"] == header and one.get("required") for one in self.parameters)

    def request_examples(self) -> list:
        """Bodies that the document shows; one None if the operation has none."""
        content = self.node.get("requestBody", {}).get("content", {}).get("application/json", {})
        return examples_of(content) or [None]

    def check(self, answer: requests.Response) -> None:
        """Fails unless the document says that such an answer may come."""
        responses = self.node["responses"]
        place = f"{self.id}: {answer.status_code} {answer.text[:500]}"
        assert str(answer.status_code) in responses, place
        response = resolved(responses[str(answer.status_code)])
        for name, header in response.get("headers", {}).items():
            header = resolved(header)
            if name in answer.headers:
                # A header has no type of its own: the document's is what its text is read as.
                value = answer.headers[name]
                value = int(value) if header["schema"].get("type") == "integer" else value
                check(value, header["schema"], f"{place}: {name}")
            else:
                assert not header.get("required"), f"{place}: {name} is missing"
        content = response.get("content", {})
        if not content:
            assert answer.content == b"", place
            return
        kind = answer.headers["content-type"].split(";")[0]
        assert kind in content, place
        if kind.endswith("json"):
            check(answer.json(), content[kind]["schema"], place)


@cache
def operations() -> list[Operation]:
    return [
        Operation(method.upper(), path, item, item[method])
        for path, item in document()["paths"].items()
        for method in METHODS
        if method in item
    ]


def operation(name: str) -> Operation:
    return next(one for one in operations() if one.id == name)


def examples_of(content: dict) -> list:
    if "example" in content:
        return [content["example"]]
    return [resolved(one)["value"] for one in content.get("examples", {}).values()]


def check(value, schema: dict, place: str) -> None:
    """Fails unless the value is what the schema says, and has no field that it does not name."""
    whole = {**schema, "components": document()["components"]}
    errors = list(Draft202012Validator(whole, format_checker=FormatChecker()).iter_errors(value))
    assert not errors, f"{place}: {errors[0].json_path}: {errors[0].message}"
    unnamed = sorted(undocumented(value, schema))
    assert not unnamed, f"{place}: fields that the document does not name: {unnamed}"


def undocumented(value, schema: dict, place: str = "$"):
    """Names of fields that no schema has."""
    schema = resolved(schema)
    if isinstance(value, list):
        for index, one in enumerate(value):
            yield from undocumented(one, schema.get("items", {}), f"{place}[{index}]")
    if not isinstance(value, dict):
        return
    properties = dict(schema.get("properties", {}))
    for part in schema.get("allOf", []):
        properties |= resolved(part).get("properties", {})
    for name, one in value.items():
        if name in properties:
            yield from undocumented(one, properties[name], f"{place}.{name}")
        elif properties and not isinstance(schema.get("additionalProperties"), dict):
            yield f"{place}.{name}"


def about(body, names: dict[str, str]):
    """A body that the document shows, about things that are there, by the names that it has for them."""
    if not isinstance(body, dict):
        return body
    return body | {name: names[name] for name in REFERENCES if name in body and name in names}


def names_in(path: str) -> list[str]:
    """The names of a path's parameters."""
    return re.findall(r"{(\w+)}", path)
