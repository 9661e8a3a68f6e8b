"""The schema of the chart's `connections`, made of the program's own tables of keys. Helm refuses each value that the
program would refuse, by its name."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import tables
from helm import CHART

SCHEMA = CHART / "values.schema.json"
TITLE = re.compile(r"`connections\.NAME` of `type: ([a-z-]+)`: (.*)")
# The generated definitions are the last of the file.
START, END = '    "connection": {\n', "\n  }\n}\n"
TYPE = ("kind of backend; the other keys are those that `agent-scaler keys --server` lists for it: secrets and PEM "
        "files as `{secret: {name: …, key: …}}`")
# Units of keys that take several values; a list is joined with commas.
SEVERAL = {"URLs", "addresses", "accounts", "names", "name=value,…"}
# The part of a key's help that names another key which it requires.
NEEDS = re.compile(r"(?:needs|carries|(?:password|private key|secret|value) of) `(\w+)`")
FURTHER = {"accessKeyId": ["secretAccessKey"], "sentinelUsername": ["sentinelPassword"]}
# Keys that mean nothing without a `mechanism`, of connections that have one.
LOGIN = {"username", "password", "token", "tokenEndpoint", "clientId", "clientSecret", "scope"}
ONE = {"URL", "name", "text", "ARN"}


def types() -> Iterator[tuple[str, str, list[list[str]]]]:
    """Name, meaning and keys of each type of connection."""
    for heading, rows in tables.sections():
        if match := TITLE.fullmatch(heading):
            yield match[1], match[2], rows


def value(unit: str) -> dict:
    """The schema of a key with this unit."""
    if unit in ("secret", "path"):
        return {"$ref": "#/definitions/secretKey"}
    if unit in SEVERAL:
        return {"$ref": "#/definitions/connectionTexts"}
    if unit in ONE:
        return {"$ref": "#/definitions/connectionText"}
    if unit == "true or false":
        return {"$ref": "#/definitions/connectionFlag"}
    if unit == "number":
        return {"$ref": "#/definitions/connectionNumber"}
    if unit == "duration":
        return {"$ref": "#/definitions/connectionTime"}
    words = re.split(r", | or ", unit)
    if len(words) < 2:
        raise LookupError(f"docs/keys.md has the unit {unit!r}, of which connections.py does not know what it takes")
    return {"enum": words}


def definitions() -> str:
    """The text of the definitions, as it stands in the schema."""
    known = list(types())
    kinds = json.dumps({"description": TYPE, "enum": [name for name, _, _ in known]}, ensure_ascii=False)
    lines = [START.rstrip("\n"), '      "type": "object",', '      "required": ["type"],', '      "properties": {',
             f'        "type": {kinds}', "      },", '      "allOf": [']
    choices = [json.dumps({"if": {"required": ["type"], "properties": {"type": {"const": name}}},
                           "then": {"$ref": f"#/definitions/connection-{name}"}}) for name, _, _ in known]
    lines += [f"        {choice}," for choice in choices[:-1]] + [f"        {choices[-1]}", "      ]", "    }"]
    for name, meaning, rows in known:
        lines[-1] += ","
        required = json.dumps(["type", *(row[0] for row in rows if row[3] == "required")])
        lines += [f'    "connection-{name}": {{', f'      "description": {json.dumps(meaning, ensure_ascii=False)},',
                  '      "type": "object",', '      "additionalProperties": false,', f'      "required": {required},',
                  '      "properties": {', f'        "type": {json.dumps({"const": name})},']
        lines += [f"        {json.dumps(row[0])}: "
                  f"{json.dumps({'description': row[1]} | value(row[2]), ensure_ascii=False)}," for row in rows]
        lines[-1] = lines[-1].rstrip(",")
        lines += ["      },", f'      "dependencies": {json.dumps(dependencies(rows))}', "    }"]
    return "\n".join(lines)


def dependencies(rows: list[list[str]]) -> dict[str, list[str]]:
    """The keys that another one needs, as its meaning says, or as only the program knows."""
    known = {row[0] for row in rows}
    needs = {row[0]: set(NEEDS.findall(row[1])) | set(FURTHER.get(row[0], ())) for row in rows}
    for key in LOGIN & known if "mechanism" in known else ():
        needs[key].add("mechanism")
    return {key: sorted(needed & known) for key, needed in needs.items() if needed & known}


def fresh(text: str) -> str:
    """The schema's file with its connections as they should be."""
    return text[:text.index(START)] + definitions() + END


def drift() -> str | None:
    text = SCHEMA.read_text()
    return None if fresh(text) == text else "its connections are not those of docs/keys.md: run run.sh --table"
