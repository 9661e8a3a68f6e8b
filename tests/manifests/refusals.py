"""What the chart must refuse: planted in the values, for every value that there is."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import yaml

import tables
from helm import Helm
from schemas import one_line

SECRET = "hunter2"
REDIS = "connections: {r: {type: redis, url: %s}}"

# What the schema cannot say, and what the chart then says. Never what was written: it may be a password.
PROBLEMS = (
    ("tls: {mode: server}", "tls.existingSecret: is required with tls.mode server: a Secret with tls.crt and tls.key"),
    ("tls: {mode: mutual}", "a Secret with tls.crt and tls.key and ca.crt"),
    ("keda: {clusterTriggerAuthentication: {create: true}}", "needs tls.mode server or mutual"),
    ("ports: {grpc: 8080}", "ports: grpc and http are the same"),
    (REDIS % f"'redis://scaler:{SECRET}@redis'", "connections.r.url: holds credentials"),
    (REDIS % f"'redis://redis/0?password={SECRET}'", "connections.r.url: is not redis://HOST:PORT/DATABASE"),
    (REDIS % f"'http://{SECRET}'", "connections.r.url: is not redis://HOST:PORT/DATABASE"),
    (REDIS % "redis://a, ca: {secret: {name: a, key: b}}", "connections.r.url: must begin with rediss://"),
    ("tenants: {acme: {connections: {redis-x: [a]}}}", "tenants.acme.connections.redis-x: no connection of that name"),
    ("llmLimits: {a: {workersConnection: r, scope: s}}", "llmLimits.a.workersConnection: no connection of that name"),
    (REDIS % "redis://a" + "\nllmLimits: {a: {workersConnection: r, scope: s}, b: {workersConnection: r, scope: s}}",
     "llmLimits.b.scope: is also that of llmLimits.a"),
    ("tenants: {acme: {llmLimits: [a]}}", "tenants.acme.llmLimits: no limit named a"),
    ("defaults: {workersConnection: r}", "defaults.workersConnection: no connection of that name"),
    ("tls: {mode: server}\nports: {grpc: 8080}", "2 problems in the values:"),
    # The schema's.
    (REDIS % "redis://a, username: u", "password"),
    ("connections: {r: {type: redis-cluster, urls: ['redis://a', 'redis://:%s@b']}}" % SECRET,
     "connections.r.urls: holds credentials"),
    ("connections: {r: {type: redis-sentinel, master: m, urls: 'redis://a, http://b'}}",
     "connections.r.urls: is not redis://"),
    ("connections: {r: {type: redis}}", "url"),
    ("connections: {r: {type: redsi, url: redis://a}}", "type"),
    ("connections: {r: {url: redis://a}}", "type"),
    ("connections: {r: {type: kafka, bootstrapServer: a}}", "dditional propert"),
    ("connections: {r: {type: kafka, bootstrapServers: a, mechansim: PLAIN}}", "mechansim"),
    ("connections: {r: {type: kafka, bootstrapServers: a, mechanism: plain}}", "mechanism"),
    ("connections: {r: {type: kafka, bootstrapServers: a, username: u}}", "password"),
    ("connections: {r: {type: kafka, bootstrapServers: a, mechanism: PLAIN}}",
     "connections.r.username: is required with mechanism PLAIN"),
    ("connections: {r: {type: kafka, bootstrapServers: a, mechanism: OAUTHBEARER}}",
     "connections.r.tokenEndpoint: is required with mechanism OAUTHBEARER, or else `token`"),
    ("connections: {r: {type: kafka, bootstrapServers: a, ca: {secret: {name: a, key: b}}}}",
     "connections.r.tls: must be true"),
    ("connections: {r: {type: http, url: 'http://a', username: u, password: {secret: {name: a, key: b}}, "
     "bearerToken: {secret: {name: a, key: b}}}}", "connections.r.bearerToken: cannot stand beside"),
    ("connections: {r: {type: redis-sentinel, urls: redis://a}}", "master"),
    ("connections: {r: {type: aws}}", "region"),
    (f"connections: {{r: {{type: prometheus, url: 'ftp://{SECRET}'}}}}", "connections.r.url: is not http://HOST"),
    (f"connections: {{r: {{type: http, url: '{SECRET}'}}}}", "connections.r.url: is not http://HOST"),
    (REDIS % "redis://a" + "\nllmLimits: {a: {workersConnection: r, scope: s, prometheusConnection: p, "
     "headroomPreset: vllm, headroomModel: m}}", "llmLimits.a.prometheusConnection: no connection of that name"),
    (REDIS % "redis://a" + "\nllmLimits: {a: {workersConnection: r, scope: s, prometheusConnection: r, "
     "headroomPreset: vllm, headroomModel: m}}",
     "llmLimits.a.prometheusConnection: is no connection of type prometheus"),
    (REDIS % "redis://a" + "\nllmLimits: {a: {workersConnection: r, scope: s, headroomModel: m}}", "headroomPreset"),
    ("connections: {r: {type: redis-sentinel, sentinelPassword: %s}}" % SECRET, "sentinelPassword"),
    ("connections: {r: {type: prometheus, bearerToken: %s}}" % SECRET, "bearerToken"),
    ("connections: {r: {type: aws, secretAccessKey: %s}}" % SECRET, "secretAccessKey"),
    (REDIS % f"redis://a, password: {SECRET}", "password"),
    ("tls: {mode: on}", "tls"),
    ("tls: null", "tls"),
    ("tick: soon", "tick"),
    ("tick: 1m", "tick: must be within 100ms to 30s"),
    ("tick: 99ms", "tick: must be within 100ms to 30s"),
    ("connections: {r: {type: aws, region: a, wakeEvery: 31s}}",
     "connections.r.wakeEvery: must be within 200ms to 30s"),
    ("defaults: {maxQueueWait: 0s}", "defaults.maxQueueWait: must be 1s or more"),
    ("defaults: {stuckAfter: 999ms}", "defaults.stuckAfter: must be 1s or more"),
    ("defaults: {drainTime: 30}", "drainTime"),
    ("image: {digest: latest}", "digest"),
    ("podSecurityContext: {runAsUser: 0}", "runAsUser"),
    ("podSecurityContext: {runAsNonRoot: false}", "runAsNonRoot"),
    ("serviceMonitor: {enabled: true}\nnetworkPolicy: {httpFrom: []}", "networkPolicy.httpFrom: is empty, so the NetworkPolicy keeps Prometheus out"),
    ("serviceMonitor: {enabled: true}\nnetworkPolicy: {httpFrom: null}", "networkPolicy.httpFrom: is empty, so the NetworkPolicy keeps Prometheus out"),
    ("connections: {../x: {type: redis, url: redis://a}}", "../x"),
    ("llmLimits: {a: {workersConnection: r, scope: s, requestsPerMinute: 0}}", "requestsPerMinute"),
    ("llmLimits: {a: {workersConnection: r, scope: s, weights: {acme: 0}}}", "acme"),
    ("llmLimits: {a: {scope: s}}", "workersConnection"),
    ("replicaCount: 0", "replicaCount"),
    ("podDisruptionBudget: {maxUnavailable: 0}", "maxUnavailable"),
    ("topologySpreadConstraints: [{topologyKey: a, maxSkew: 1, whenUnsatisfiable: DoNotSchedule, matchLabelKeys: [a]}]",
     "labelSelector"),
)


def refused(helm: Helm, values: str, says: str, *more: str) -> str | None:
    """None if the chart refuses these values with these words."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(values)
        file.flush()
        try:
            helm.template(Path(file.name), *more)
        except ValueError as error:
            if SECRET in str(error):
                return "the error repeats a password"
            return None if says in str(error) else f"it did not say {says!r} but {one_line(error)}"
    return "it was accepted"


def nodes(value: object, node: dict, root: dict, path: tuple = ()) -> Iterator[tuple[tuple, object, dict]]:
    """Each value with its place and its schema, the outer before the inner."""
    node = chosen(tables.resolve(node, root), value, root)
    yield path, value, node
    if isinstance(value, dict):
        for key, inner in value.items():
            below = node.get("properties", {}).get(key) or matching(key, node) or node.get("additionalProperties")
            if isinstance(below, dict):
                yield from nodes(inner, below, root, (*path, key))
    elif isinstance(value, list) and "items" in node:
        for i, inner in enumerate(value):
            yield from nodes(inner, node["items"], root, (*path, i))


def chosen(node: dict, value: object, root: dict) -> dict:
    """The schema that holds for this value where there are several, by its type."""
    for choice in node.get("allOf", []):
        (key, wanted), = choice["if"]["properties"].items()
        if isinstance(value, dict) and value.get(key) == wanted["const"]:
            return tables.resolve(choice["then"], root)
    return node


def matching(key: str, node: dict) -> dict | None:
    """The schema of a key that a pattern knows."""
    return next((s for p, s in node.get("patternProperties", {}).items() if re.search(p, key)), None)


def at(values: object, path: tuple) -> object:
    for step in path:
        values = values[step]
    return values


def with_unknown_keys(values: dict, root: dict) -> tuple[dict, dict[str, tuple[str, int]]]:
    """The values with an unknown key in each closed object; for each such key its place and its schema."""
    broken, planted = copy.deepcopy(values), {}
    for path, value, node in nodes(values, root, root):
        if isinstance(value, dict) and node.get("additionalProperties") is False:
            name = f"planted{len(planted)}x"
            at(broken, path)[name] = "x"
            planted[name] = (".".join(map(str, path)) or "the top", id(node))
    return broken, planted


def with_wrong_types(values: dict, root: dict) -> tuple[dict, list[tuple]]:
    """The values with each innermost one of another type, and the places; what chooses a schema stays as it is."""
    broken, places = copy.deepcopy(values), []
    for path, value, node in nodes(values, root, root):
        if path and path[0] != "global" and "const" not in node and (not isinstance(value, (dict, list)) or not value):
            at(broken, path[:-1])[path[-1]] = "wrong" if node.get("type") == "array" else [[]]
            places.append(path)
    return broken, places


def names_place(error: str, path: tuple) -> bool:
    """Helm 3 writes `a.b.0`, Helm 4 `'/a/b/0'`."""
    steps = list(map(str, path))
    pointer = "/".join(s.replace("~", "~0").replace("/", "~1") for s in steps)
    return f"- {'.'.join(steps)}: " in error or f"at '/{pointer}'" in error


def error_of(helm: Helm, values: dict) -> str:
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        try:
            helm.template(Path(file.name))
        except ValueError as error:
            return str(error)
    return ""


def closed(node: object, root: dict) -> Iterator[dict]:
    """Each object of the schema, which must be closed: only a map of the user's names is open, and what only chooses
    among others."""
    if isinstance(node, dict):
        if "properties" in node and "allOf" not in node:
            yield node
        for key, inner in node.items():
            if key == "allOf":
                continue
            for part in inner.values() if key in ("properties", "definitions") else [inner]:
                yield from closed(part, root)


def check(helm: Helm, files: tuple[Path, ...], values_of: Callable[[Path], dict], report) -> None:
    before, root, reached = report.now, tables.schema(), set()
    for says, problem in ((says, refused(helm, values, says)) for values, says in PROBLEMS):
        report.add(f"helm {helm.version} says '{says}'", problem)
    for file in files:
        values = values_of(file)
        broken, planted = with_unknown_keys(values, root)
        error = error_of(helm, broken)
        for name, (place, node) in planted.items():
            reached.add(node)
            report.add(f"helm {helm.version} {file.name}: unknown key in {place}",
                       None if name in error else f"is not named: {one_line(error) or 'accepted'}")
        broken, places = with_wrong_types(values, root)
        error = error_of(helm, broken)
        for path in places:
            report.add(f"helm {helm.version} {file.name}: wrong type of {'.'.join(map(str, path))}",
                       None if names_place(error, path) else f"is not named: {one_line(error) or 'accepted'}")
    for node in closed(root, root):
        keys = ", ".join(node["properties"])
        is_open = None if node.get("additionalProperties") is False else "it is open"
        report.add(f"schema of {{{keys}}} is closed", is_open)
        report.add(f"schema of {{{keys}}} is tried", None if id(node) in reached else "no value file in ci/ uses it")
    for key in root["properties"]:
        error = error_of(helm, {key: None})
        breaks = f"breaks a template: {one_line(error)}" if any(said in error for said in ("nil pointer", "wrong type")) else None
        report.add(f"helm {helm.version} {key}: null", breaks)
    report.section(f"refusals of Helm {helm.version}", before)
