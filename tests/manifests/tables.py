"""The tables: the keys in docs/keys.md, which are read; the chart's values, and the connections in its schema, which
are written."""

from __future__ import annotations

import json
from collections.abc import Iterator

import yaml

from helm import CHART
from model import ROOT

START, END = "<!-- values.schema.json and values.yaml; run.sh --table writes it -->", "<!-- end -->"


def keys(title: str) -> set[str]:
    """The keys in the tables of docs/keys.md whose titles begin so."""
    found = {row[0] for heading, body in sections() if heading.startswith(title) for row in body}
    if not found:
        raise LookupError(f"docs/keys.md has no table {title!r}")
    return found


def sections() -> Iterator[tuple[str, list[list[str]]]]:
    """The tables of docs/keys.md: title, and key, meaning, unit and default of each row. A Rust test holds them to the
    program's own."""
    heading, body = "", []
    for line in [*(ROOT / "docs/keys.md").read_text().splitlines(), "<!--"]:
        if line.startswith(("**", "<!--")):
            if heading:
                yield heading, body
            heading, body = line.strip("*") if line.startswith("**") else "", []
        elif heading and line.startswith("| `"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            body.append([cells[0].strip("`"), *cells[1:]])


def schema() -> dict:
    return json.loads((CHART / "values.schema.json").read_text())


def resolve(node: dict, root: dict) -> dict:
    """What a `$ref` points at; draft 7 ignores what stands beside it, so a description may."""
    while "$ref" in node:
        node = root["definitions"][node["$ref"].rsplit("/", 1)[1]]
    return node


def rows(node: dict, root: dict, defaults: object, path: str = "") -> Iterator[tuple[str, str, str]]:
    """Value, meaning and default of each value; Kubernetes' own structures are one row."""
    for name, given in node.get("properties", {}).items():
        here, below = f"{path}{name}", resolve(given, root)
        default = defaults.get(name) if isinstance(defaults, dict) else None
        of_map = below.get("additionalProperties")
        if "$ref" not in given and "properties" in below:
            yield from rows(below, root, default, f"{here}.")
            continue
        needed = name in node.get("required", []) and default is None
        yield here, given["description"], "required" if needed else said(default)
        if "$ref" not in given and isinstance(of_map, dict):
            inner = resolve(of_map, root)
            if any("description" in p for p in inner.get("properties", {}).values()):
                yield from rows(inner, root, None, f"{here}.NAME.")


def said(default: object) -> str:
    """A default in as few words as possible."""
    if default in (None, "", [], {}):
        return "none"
    if isinstance(default, (dict, list)):
        return "see values.yaml"
    return f"`{json.dumps(default).strip(chr(34))}`"


def table() -> str:
    root, defaults = schema(), yaml.safe_load((CHART / "values.yaml").read_text())
    body = [(f"`{a}`", b, c) for a, b, c in rows(root, root, defaults)]
    lines = [("value", "meaning", "default"), *body]
    width = [max(len(line[i]) for line in lines) for i in range(3)]
    text = [f"| {' | '.join(cell.ljust(width[i]) for i, cell in enumerate(line))} |" for line in lines]
    return "\n".join([text[0], f"|{'|'.join('-' * (w + 2) for w in width)}|", *text[1:]])


def readme(text: str) -> str:
    """The chart's README with its table as it should be."""
    before, rest = text.split(START)
    return f"{before}{START}\n{table()}\n{END}{rest.split(END, 1)[1]}"


def drift() -> str | None:
    text = (CHART / "README.md").read_text()
    return None if readme(text) == text else "the table of values is not that of the schema: run run.sh --table"


def drifted_keys() -> Iterator[tuple[str, str | None]]:
    """The schema knows the same keys as the program; those of connections it passes on, whatever they are."""
    root = schema()
    tops = root["properties"]
    limit, tenant = root["definitions"]["limit"]["properties"], tops["tenants"]["additionalProperties"]["properties"]
    # The ports make two keys, and the workers' minute is for tests and demonstrations.
    others = {"listen", "admin", "protocolMinute"}
    for title, known in (("Under `llmLimits.NAME`", set(limit)),
                         ("Under `llmLimits.NAME.usePerTask`", set(limit["usePerTask"]["properties"])),
                         ("Under `tenants.NAMESPACE`", set(tenant)),
                         ("Under `defaults`", set(tops["defaults"]["properties"])),
                         ("Top of the server's file", set(tops) & {"adminToken", "adminHosts", "tick", "maxTriggers",
                                                                   "maxConnectionAge"} | others)):
        differ = ", ".join(sorted(known ^ keys(title)))
        yield f"values.schema.json ↔ docs/keys.md {title}", f"only one of them has {differ}" if differ else None
