"""Reads {"document", "exchanges"}; writes a line for each exchange that is not as the document says."""

import json
import sys

from jsonschema import Draft202012Validator

given = json.load(sys.stdin)
document = given["document"]


def wrong(schema, value):
    whole = {**schema, "components": document["components"]}
    errors = Draft202012Validator(whole).iter_errors(value)
    return [f"{error.json_path}: {error.message}" for error in errors]


def problems(one):
    operation = document["paths"].get(one["path"], {}).get(one["method"])
    if operation is None:
        return ["not in the document"]
    responses = operation["responses"]
    response = responses.get(str(one["status"]), responses["default"])
    kind = one["type"].split(";")[0]
    if kind not in response["content"]:
        return [f"answered with {kind}"]
    schema = response["content"][kind]["schema"]
    lines = kind == "application/x-ndjson"
    if kind == "application/json" or lines:
        texts = one["answer"].splitlines() if lines else [one["answer"]]
        found = [problem for text in texts for problem in wrong(schema, json.loads(text))]
    else:
        found = []
    body = one["request"]
    if body is not None and one["status"] == 200:
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        found += wrong(schema, body)
    return found


for one in given["exchanges"]:
    for problem in problems(one):
        print(one["method"], one["path"], one["status"], problem[:300])
