"""Every value of the chart has an effect: each leaf of its schema changes the rendered chart.

A set of values is made of the schema, in which every text and number is one that stands nowhere else, and each must be
in what is rendered from it. What cannot be unlike all others (a choice, a flag, a name of something else in the values)
is changed, and what is rendered must change with it.
"""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import yaml

import tables
from helm import CHART, Helm, tree
from refusals import at
from schemas import one_line

# Values that reach nothing, and why. A dot stands between steps, * for a name.
EXCEPTIONS = {"global": "what a parent chart shares with its dependencies; the schema says that it is not read"}

# Values whose form the schema cannot express, by the last step of their path.
FORMS = {"url": "rediss://m{}.example.com", "urls": "rediss://m{}.example.com", "repository": "m{}.example.com/image"}
# Names of other things in these values. Both stand in BASE.
REFERENCES = {"workersConnection": ("one", "two"), "prometheusConnection": ("gauges", "others")}
BASE = {
    "connections": {
        "one": {"type": "redis", "url": "redis://a"}, "two": {"type": "redis", "url": "redis://b"},
        "gauges": {"type": "prometheus", "url": "http://a"}, "others": {"type": "prometheus", "url": "http://b"},
    },
    "llmLimits": {"first": {"workersConnection": "one", "scope": "first"},
                  "second": {"workersConnection": "one", "scope": "second"}},
}
# Keys of a connection that exclude each other: the keys of each variant, and those that it leaves out.
LOGIN, PEMS = ("username", "password"), ("ca", "certificate", "key")
TOKENS = ("tokenEndpoint", "clientId", "clientSecret", "scope")
VARIANTS = {"kafka": (({"mechanism": "PLAIN"}, (*TOKENS, "token", *PEMS)),
                      ({"mechanism": "OAUTHBEARER", "tls": True}, (*LOGIN, "token")),
                      ({"mechanism": "OAUTHBEARER", "tls": True}, (*LOGIN, *TOKENS))),
            "http": (({}, ("bearerToken",)), ({}, LOGIN)), "prometheus": (({}, ("bearerToken",)), ({}, LOGIN))}
# Without them other values have no meaning.
FIXED = {"tls.mode": "mutual", "keda.clusterTriggerAuthentication.create": True}


@dataclass
class Made:
    """Values, with a marker or other choices for every leaf."""

    values: dict = field(default_factory=dict)
    markers: dict[str, str] = field(default_factory=dict)
    choices: dict[tuple, list] = field(default_factory=dict)
    count: int = 4100100               # beyond a million Helm writes numbers as 4.1001e+06

    def forget(self, path: tuple) -> None:
        self.markers = {p: m for p, m in self.markers.items() if not f"{p}.".startswith(f"{dotted(path)}.")}
        self.choices.pop(path, None)

    def next(self) -> int:
        self.count += 1
        return self.count


def make(root: dict) -> Made:
    made = Made()
    made.values = tree_of(made, root, root, ())
    for section, named in BASE.items():
        made.values[section] |= copy.deepcopy(named)
    return made


def tree_of(made: Made, node: dict, root: dict, path: tuple) -> object:
    """A value for this node, with every key that it may have."""
    node = tables.resolve(node, root)
    kinds = node.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    if dotted(path) in EXCEPTIONS:
        return {}
    if "allOf" in node:
        raise LookupError(f"{dotted(path)}: a choice of schemas stands only in a map")
    if "properties" in node:
        return {key: tree_of(made, below, root, (*path, key)) for key, below in node["properties"].items()}
    if isinstance(node.get("additionalProperties"), dict):
        return dict(entries(made, node, root, path))
    if "items" in node and "array" in kinds:
        return [tree_of(made, node["items"], root, (*path, 0))]
    return leaf(made, node, kinds, path)


def entries(made: Made, node: dict, root: dict, path: tuple) -> Iterator[tuple[str, object]]:
    """One entry of a map of names; of connections one for each type."""
    below = tables.resolve(node["additionalProperties"], root)
    for choice in below.get("allOf", [{"then": node["additionalProperties"]}]):
        kind = choice["if"]["properties"]["type"]["const"] if "if" in choice else "x"
        for fixed, without in VARIANTS.get(kind, (({}, ()),)):
            name = "one" if path[0] == "tenants" and path[-1] == "connections" else f"m{made.next()}-{kind}"
            value = tree_of(made, choice["then"], root, (*path, name))
            for key in (*without, *fixed):
                value.pop(key)
                made.forget((*path, name, key))
            for key, said in fixed.items():
                value[key] = said
                made.markers[dotted((*path, name, key))] = f"{key}: {yaml.safe_dump(said).split()[0]}"
            made.markers[dotted((*path, name))] = name
            yield name, value


def leaf(made: Made, node: dict, kinds: list, path: tuple) -> object:
    key = next(step for step in reversed(path) if isinstance(step, str))
    if dotted(path) in FIXED:
        made.choices[path] = [v for v in node.get("enum", [True, False]) if v != FIXED[dotted(path)]]
        return FIXED[dotted(path)]
    if "const" in node:
        made.markers[dotted(path)] = f"{key}: {node['const']}"
        return node["const"]
    if key in REFERENCES:
        made.choices[path] = [REFERENCES[key][1]]
        return REFERENCES[key][0]
    if path[0] == "tenants" and "llmLimits" in path:
        made.choices[path] = ["second"]
        return "first"
    if "enum" in node or "boolean" in kinds:
        options = node.get("enum", [True, False])
        made.choices[path] = options[1:2]
        return options[0]
    if {"integer", "number"} & set(kinds) and not {"string"} & set(kinds) or node.get("maximum", 0) > 0:
        low, high = node.get("minimum", 1), node.get("maximum", 2**31)
        if high > 10**6:
            return marked(made, path, made.next())
        if high > 10**4:
            return marked(made, path, low + made.next() % 10**4)
        made.choices[path] = [low + 1]
        return low + 2
    return marked(made, path, text(made, node, path, key))


def text(made: Made, node: dict, path: tuple, key: str) -> str:
    number = made.next()
    form = FORMS.get(key, "m{}")
    if path[0] == "connections" and path[1].endswith(("http", "prometheus")):
        form = form.replace("rediss", "https")
    # These have an upper bound that the schema does not say; a number of milliseconds is as unlike others.
    form = f"{number % 25000 + 1000}ms" if key in ("tick", "wakeEvery") else form
    for candidate in (form.format(number), f"{number}s", f"sha256:{number:064x}", f"{number % 100}%", str(number)):
        if re.search(node.get("pattern", ""), candidate):
            return candidate
    raise LookupError(f"{dotted(path)}: effects.py knows no text for {node['pattern']}")


def marked(made: Made, path: tuple, value: object) -> object:
    made.markers[dotted(path)] = str(value)
    return value


def dotted(path: tuple) -> str:
    return ".".join(map(str, path))


def rendered(helm: Helm, values: dict, chart: Path) -> str:
    """The rendered chart, without the checksum that changes with every value."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        yaml.safe_dump(values, file)
        file.flush()
        said = helm.template(Path(file.name), chart=chart)
    return "\n".join(line for line in said.splitlines() if "checksum/" not in line)


def lost(helm: Helm, made: Made, chart: Path = CHART) -> Iterator[tuple[str, str | None]]:
    """Each leaf, and what is wrong where it does not arrive."""
    whole = rendered(helm, made.values, chart)
    for path, marker in made.markers.items():
        found = re.search(rf"(?<!\w){re.escape(marker)}(?!\w)", whole)
        yield path, None if found else f"{marker} is in nothing that the chart renders"
    for path, others in made.choices.items():
        changed = copy.deepcopy(made.values)
        at(changed, path[:-1])[path[-1]] = others[-1]
        try:
            arrives = rendered(helm, changed, chart) != whole
            yield dotted(path), None if arrives else f"{others[-1]!r} renders the same"
        except ValueError as error:
            yield dotted(path), one_line(error)


# Mistakes in a template: the file, what is taken out of it, and the values that then do not arrive.
FAULTS = (
    ("_server-file.tpl", "{{- range concat .first .last -}}\n{{- $others = without $others . -}}\n{{- end -}}",
     "{{- $others = list -}}", ("connections.*.region", "connections.*.wakeEvery")),
    ("_server-file.tpl", '{{- if or $value (not (kindIs "map" $value)) -}}',
     '{{- if not (hasPrefix "headroom" $key) -}}', ("llmLimits.*.headroomModel", "llmLimits.*.headroomPreset")),
    ("deployment.yaml", "replicas: {{ int64 .Values.replicaCount }}", "replicas: {{ .Values.replicaCount }}",
     ("replicaCount",)),
    ("service-monitor.yaml", "{{ .Values.serviceMonitor.honorLabels }}", "true", ("serviceMonitor.honorLabels",)),
    ("deployment.yaml", "priorityClassName: {{ toYaml . }}", "hostname: x", ("priorityClassName",)),
    ("network-policy.yaml", "{{- with .Values.networkPolicy.httpFrom }}", "{{- with list }}",
     ("networkPolicy.httpFrom.0.ipBlock.cidr",)),
)


def check(helms: list[Helm], report) -> None:
    before, root = report.now, tables.schema()
    made = make(root)
    for helm in helms:
        for path, problem in lost(helm, made):
            report.add(f"helm {helm.version} {path} arrives", problem)
    for path in EXCEPTIONS:
        node = root
        for step in path.split("."):
            node = node.get("properties", {}).get(step, {})
        report.add(f"{path} is an exception", None if node else "the schema does not have it")
    for file, old, new, paths in FAULTS:
        with tree(CHART) as chart:
            template = chart / "templates" / file
            text = template.read_text()
            template.write_text(text.replace(old, new))
            found = {re.sub(r"\.m\d+-[a-z-]+", ".*", path) for path, problem in lost(helms[0], made, chart) if problem}
        missed = "" if old in text else f"{old!r} is not in the template"
        missed = missed or ", ".join(sorted(set(paths) - found))
        report.add(f"a lost {paths[0]} is found", missed or None)
    report.section(f"{len(made.markers) + len(made.choices)} values arrive", before)
