"""What the manifests are to the rules: objects by kind and name, and the few units they are written in."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import yaml

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("deploy", "examples/scaledobjects")
CHARTS = "deploy/charts"               # templates, which are no YAML: charts.py checks what they render

# Every kind that has pods. A rule about pods looks at all of them.
WORKLOADS = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job", "CronJob", "Pod", "ScaledJob")

# Those whose number a ScaledObject may set, and those that select their pods.
SCALABLE = ("Deployment", "StatefulSet")
SELECTING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")

# What a rule yields: what it looked at, and what is wrong with it (None: nothing).
Outcome = tuple[str, str | None]


class StrictLoader(yaml.SafeLoader):
    """YAML in which a key may stand once. PyYAML takes the last of two without a word."""

    def construct_mapping(self, node, deep=False):
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"key {key.value!r} stands twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


@dataclass
class Obj:
    """One document of one file."""

    path: str
    data: dict

    @property
    def folder(self) -> str:
        return str(PurePosixPath(self.path).parent)

    @property
    def api(self) -> str:
        return self.data.get("apiVersion", "")

    @property
    def kind(self) -> str:
        return self.data.get("kind", "")

    @property
    def name(self) -> str:
        return (self.data.get("metadata") or {}).get("name", "")

    @property
    def namespace(self) -> str:
        return (self.data.get("metadata") or {}).get("namespace", "")

    @property
    def spec(self) -> dict:
        return self.data.get("spec") or {}

    @property
    def template(self) -> dict:
        """The template of its pods, where it has any; a Pod is its own."""
        match self.kind:
            case "Pod":
                return self.data
            case "CronJob":
                return self.spec.get("jobTemplate", {}).get("spec", {}).get("template", {})
            case "ScaledJob":
                return self.spec.get("jobTargetRef", {}).get("template", {})
            case _:
                return self.spec.get("template", {})

    @property
    def pod(self) -> dict:
        """The pod's spec, of an object that has a template."""
        return self.template.get("spec", {})

    @property
    def pod_labels(self) -> dict:
        return self.template.get("metadata", {}).get("labels", {})

    def __str__(self) -> str:
        return f"{self.path}: {self.kind} {self.name}"


@dataclass
class World:
    """All that is checked. Rules only read it; the self-test breaks copies of it."""

    objects: list[Obj] = field(default_factory=list)
    kustomizations: list[Obj] = field(default_factory=list)
    servers: list[Obj] = field(default_factory=list)
    external: list[dict] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    unreadable: list[Outcome] = field(default_factory=list)
    keda: str = "keda"                 # the namespace of KEDA's operator

    def all(self, kind: str) -> list[Obj]:
        return [o for o in self.objects if o.kind == kind]

    def workloads(self, kinds: tuple[str, ...] = WORKLOADS) -> list[Obj]:
        """All that has pods."""
        return [o for o in self.objects if o.kind in kinds]

    def find(self, kind: str, name: str, namespace: str | None = None, folder: str | None = None) -> Obj | None:
        for o in self.all(kind):
            if o.name == name and namespace in (None, o.namespace) and folder in (None, o.folder):
                return o
        return None

    def listed(self, kind: str, name: str, namespace: str) -> dict | None:
        """The entry of external.yaml, if there is one."""
        for entry in self.external:
            if (entry["kind"], entry["name"], entry["namespace"]) == (kind, name, namespace):
                return entry
        return None

    def scaled(self) -> Iterator[tuple[Obj, Obj]]:
        """Each ScaledObject with the workload of its folder that it scales; a ScaledJob is both."""
        for scaled in self.workloads(("ScaledObject", "ScaledJob")):
            ref = scaled.spec.get("scaleTargetRef", {})
            target = self.find(ref.get("kind", "Deployment"), ref.get("name", ""), scaled.namespace, scaled.folder)
            if scaled.kind == "ScaledJob":
                target = scaled
            if target:
                yield scaled, target

    def triggers(self, kinds: tuple[str, ...] = ("ScaledObject", "ScaledJob")) -> Iterator[tuple[Obj, dict]]:
        """Each trigger that asks agent-scaler, with its object."""
        for scaled in self.workloads(kinds):
            for trigger in scaled.spec.get("triggers", []):
                if trigger.get("type") in ("external", "external-push"):
                    yield scaled, trigger


def load(root: Path = ROOT) -> World:
    """Reads every YAML file. What cannot be read, or is nothing we know, is kept as a failure."""
    world = World(external=yaml.safe_load((root / "tests/manifests/external.yaml").read_text()))
    for folder in FOLDERS:
        for file in sorted((root / folder).rglob("*")):
            path = file.relative_to(root).as_posix()
            if file.suffix in (".yaml", ".yml") and not path.startswith(f"{CHARTS}/"):
                add_file(world, path, file.read_text())
    return world


def add_file(world: World, path: str, text: str) -> None:
    world.texts[path] = text
    try:
        documents = [d for d in yaml.load_all(text, StrictLoader) if d is not None]
    except yaml.YAMLError as error:
        world.unreadable.append((path, f"not YAML: {' '.join(str(error).split())}"))
        return
    for data in documents:
        obj = Obj(path, data if isinstance(data, dict) else {})
        if obj.kind == "Kustomization":
            world.kustomizations.append(obj)
        elif obj.kind and obj.api:
            world.objects.append(obj)
        elif PurePosixPath(path).name == "agent-scaler.yaml":
            world.servers.append(obj)
        else:
            world.unreadable.append((path, "neither a Kubernetes object nor the server's file"))
    if not documents:
        world.unreadable.append((path, "holds no document"))


UNITS = {"ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86400}
QUANTITY = {"": 1, "m": 0.001, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40, "k": 1e3, "M": 1e6, "G": 1e9}


def seconds(text: str) -> float:
    """`90s`, `2h30m`, `1h 30m`; ValueError for anything else."""
    parts = re.findall(r"(\d+)(ms|s|m|h|d)\s*", str(text))
    if not parts or "".join(n + u for n, u in parts) != re.sub(r"\s", "", str(text)):
        raise ValueError(f"{text!r} is not a duration such as 90s or 1h 30m")
    return sum(int(n) * UNITS[u] for n, u in parts)


def quantity(value: str | int) -> float:
    """Kubernetes' numbers with a suffix: `50m`, `24Gi`, 8."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([A-Za-z]*)", str(value))
    if not match or match[2] not in QUANTITY:
        raise ValueError(f"{value!r} is not a quantity such as 24Gi")
    return float(match[1]) * QUANTITY[match[2]]


def containers(pod: dict) -> list[dict]:
    return pod.get("initContainers", []) + pod.get("containers", [])


def environment(d: Obj) -> dict[str, str]:
    """The variables of its containers that have a value."""
    return {v["name"]: v.get("value", "") for c in containers(d.pod) for v in c.get("env", [])}


def looks_at(*kinds: str):
    """Marks a rule by the kinds of objects that it looks at: the self-test plants its faults in each of them."""
    def mark(rule):
        rule.kinds = kinds
        return rule
    return mark


def subset(part: dict, whole: dict) -> bool:
    return bool(part) and all(whole.get(k) == v for k, v in part.items())
