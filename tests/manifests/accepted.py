"""Helm and the program accept the same connections."""

from __future__ import annotations

import concurrent.futures
import re
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import yaml

import charts
import connections
from helm import Helm
from model import ROOT

VALUES = {"secret": {"secret": {"name": "s", "key": "k"}}, "path": {"secret": {"name": "s", "key": "k"}},
          "URL": "https://a.example.com", "URLs": "redis://a", "addresses": "a:9092", "accounts": "111122223333",
          "true or false": True, "number": 3, "duration": "5s", "name=value,…": "a=b",
          "ARN": "arn:aws:iam::111122223333:role/r"}


def value(unit: str) -> object:
    return VALUES.get(unit, "a" if unit in ("name", "names", "text") else re.split(r", | or ", unit)[0])


def variants() -> Iterator[tuple[str, dict]]:
    """Each type of connection with what it requires and one key more, alone and with what that key needs."""
    for kind, _, rows in connections.types():
        units = {row[0]: row[2] for row in rows}
        base = {"type": kind} | {row[0]: value(row[2]) for row in rows if row[3] == "required"}
        if kind == "redis":
            base["url"] = "redis://a"
        needs = connections.dependencies(rows)
        mechanisms = re.split(r", | or ", units.get("mechanism", ""))
        for key in (None, *units):
            yield f"{kind} {key}", base | ({key: value(units[key])} if key else {})
            whole = {key} - {None}
            while more := {n for k in whole for n in needs.get(k, ())} - whole:
                whole |= more
            for mechanism in mechanisms if "mechanism" in whole else ("",):
                said = {k: value(units[k]) for k in sorted(whole)} | ({"mechanism": mechanism} if mechanism else {})
                yield f"{kind} {key} {mechanism} with all that it needs", base | said
                login = {"username": "a", "password": value("secret")}
                yield f"{kind} {key} {mechanism} with a login", base | said | login
                yield f"{kind} {key} {mechanism} with a client", base | said | {
                    "tokenEndpoint": value("URL"), "clientId": "a", "clientSecret": value("secret")}
                yield f"{kind} {key} {mechanism} with TLS", encrypted(base | said)


def encrypted(connection: dict) -> dict:
    redis = {key: str(connection[key]).replace("redis://", "rediss://") for key in ("url", "urls")
             if connection["type"].startswith("redis") and key in connection}
    return connection | redis | ({"tls": True} if connection["type"] == "kafka" else {})


def differ(helm: Helm, programs: Path, connection: dict) -> str | None:
    with tempfile.TemporaryDirectory() as folder:
        values, config = Path(folder) / "values.yaml", Path(folder) / "agent-scaler.yaml"
        values.write_text(yaml.safe_dump({"connections": {"c": connection}}))
        try:
            config.write_text(charts.server_file(helm.template(values)))
            refused = None
        except ValueError as error:
            refused = " ".join(str(error).split())[-200:]
            config.write_text(yaml.safe_dump({"connections": {"c": server_side(connection)}}))
        trigger = ROOT / "examples/scaledobjects/redis-list.yaml"
        done = subprocess.run([programs / "agent-scaler", "check", "-f", trigger, "--config", config],
                              capture_output=True, text=True, check=False)
        problems = re.findall(r"^ *(connections\.c.*)$", done.stdout + done.stderr, re.MULTILINE)
        problems = [problem for problem in problems if not problem.startswith("note")]
    if refused and not problems:
        return f"Helm refuses what the program accepts: {refused}"
    return f"Helm accepts what the program refuses: {problems[0]}" if problems and not refused else None


def server_side(connection: dict) -> dict:
    """The connection as the server's file would have it."""
    plain = {"ca", "certificate", "key"}
    return {k: ("/x" if k in plain else {"file": "/x"}) if isinstance(v, dict) else v for k, v in connection.items()}


def check(helm: Helm, programs: Path, report) -> None:
    before, seen = report.now, {}
    for name, connection in variants():
        if connection not in seen.values():
            seen[name] = connection
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for name, problem in zip(seen, pool.map(lambda c: differ(helm, programs, c), seen.values()), strict=True):
            report.add(f"{name}: {seen[name]}", problem)
    report.section(f"{len(seen)} connections are refused by both or by none", before)
