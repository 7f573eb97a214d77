"""Calls of deepgram-sdk's management client, as its users write them: each answer as its own line of JSON."""

import argparse
import datetime
import json

from deepgram import DeepgramClient
from deepgram.core.api_error import ApiError

from sdk6 import environment


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--url")
    parser.add_argument("--key")
    parser.add_argument("--project", help="asked for in place of one's own")
    arguments = parser.parse_args()
    client = DeepgramClient(api_key=arguments.key, environment=environment(arguments.url))
    projects = client.manage.v1.projects
    project = arguments.project or projects.list().projects[0].project_id
    days = {"start": "2026-01-31", "end": "2026-02-02"}
    times = {"start": datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc)}
    calls = {
        "projects.list": lambda: projects.list(),
        "projects.get": lambda: projects.get(project),
        "usage.get": lambda: projects.usage.get(project, **days),
        "usage.get all": lambda: projects.usage.get(project),
        "usage.breakdown.get": lambda: projects.usage.breakdown.get(project, **days),
        "usage.breakdown.get accessor": lambda: projects.usage.breakdown.get(project, **days, grouping="accessor"),
        "usage.breakdown.get models": lambda: projects.usage.breakdown.get(
            project, **days, grouping="models", endpoint="listen", method="streaming", deployment="self-hosted"),
        "usage.breakdown.get tags": lambda: projects.usage.breakdown.get(project, **days, grouping="tags", tag="a"),
        "usage.breakdown.get speak": lambda: projects.usage.breakdown.get(project, **days, endpoint="speak"),
        "usage.breakdown.get diarize": lambda: projects.usage.breakdown.get(project, **days, diarize=True),
        "usage.fields.list": lambda: projects.usage.fields.list(project, **days),
        "requests.list": lambda: projects.requests.list(project, limit=10, **times),
        "requests.list page": lambda: projects.requests.list(project, limit=1.0, page=1.0, status="succeeded"),
        "requests.get": lambda: projects.requests.get(project, projects.requests.list(project).requests[0].request_id),
    }
    for name, call in calls.items():
        try:
            answer = call()
            line = {"call": name, "type": type(answer).__name__, "value": answer.dict()}
        except ApiError as failure:
            line = {"call": name, "status": failure.status_code, "value": failure.body}
        print(json.dumps(line, default=str))


if __name__ == "__main__":
    main()
