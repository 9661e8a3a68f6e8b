"""Checks the Helm chart with Helm 3 and Helm 4: what it renders, what it refuses, and what is written about it.

    charts.py                     checks
    charts.py --server-files DIR  writes the server's file of each value file in ci/ as DIR/NAME.yaml, and their names
    charts.py --table             writes the connections into the chart's schema, the table of values into its README

Called by run.sh, which makes the environment that this needs.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

sys.dont_write_bytecode = True  # a check leaves no trace in the clone

import yaml  # noqa: E402

import connections  # noqa: E402
import effects  # noqa: E402
import refusals  # noqa: E402
import rules_keda  # noqa: E402
import rules_pods  # noqa: E402
import tables  # noqa: E402
from check import Report  # noqa: E402
from helm import CHART, Helm, all_helms, tree  # noqa: E402
from model import ROOT, Obj, Outcome, World, add_file, subset  # noqa: E402
from schemas import Schemas, one_line  # noqa: E402

MANIFESTS = ROOT / "deploy/manifests"
RENDERED = "# Rendered by"
FILE = "agent-scaler.yaml"
NAMESPACE = "agent-scaler"
# The lines of the notes for each type of connection.
SOURCES = {"redis": "redis", "aws": "aws-sqs-queue", "kafka": "kafka", "http": "http", "prometheus": "prometheus"}
VALUES = tuple(sorted((CHART / "ci").glob("*.yaml")))


def monitors_exist(world: World) -> Iterator[Outcome]:
    """A ServiceMonitor selects one Service, which has its port."""
    for monitor in world.all("ServiceMonitor"):
        wanted = monitor.spec["selector"]["matchLabels"]
        found = [s for s in world.all("Service") if subset(wanted, s.data["metadata"].get("labels", {}))]
        ports = {p["name"] for s in found for p in s.spec["ports"]}
        lost = {e["port"] for e in monitor.spec["endpoints"]} - ports
        problem = f"selects {len(found)} Services" if len(found) != 1 else f"no port {lost}" if lost else None
        yield str(monitor), problem


def names_fit(world: World) -> Iterator[Outcome]:
    """Names and label values have at most 63 characters, also with the longest release name."""
    for o in world.objects:
        texts = [o.name, *o.data["metadata"].get("labels", {}).values()]
        long = [t for t in texts if len(t) > 63]
        yield str(o), f"too long: {', '.join(long)}" if long else None


# Those that have something to say about one installation of the chart.
RULES = (rules_pods.selector_in_template, rules_pods.selected_pods_exist, rules_pods.ports_exist,
         rules_pods.mounts_exist, rules_pods.external_is_used, rules_pods.restricted, rules_pods.images_are_pinned,
         rules_pods.secrets_are_files, rules_pods.files_are_mounted,
         rules_pods.probes_exist, rules_pods.variables_stand_once, rules_pods.nodes_can_be_drained,
         rules_keda.server_file,
         rules_keda.trigger_authentication, rules_keda.metadata_is_text, rules_keda.metadata_is_known,
         rules_keda.bounds_agree, rules_keda.address_is_ours, monitors_exist, names_fit)


def merged(under: dict, over: dict) -> dict:
    """Values as Helm merges them."""
    both = under | over
    for key in under.keys() & over.keys():
        if isinstance(under[key], dict) and isinstance(over[key], dict):
            both[key] = merged(under[key], over[key])
    return both


def values_of(file: Path) -> dict:
    return merged(yaml.safe_load((CHART / "values.yaml").read_text()), yaml.safe_load(file.read_text()) or {})


def named_outside(values: dict, namespace: str) -> Iterator[dict]:
    """What the values say is made elsewhere. The chart must use all of it, and nothing else."""
    keys: dict[str, set[str]] = {}
    refs = [values["adminToken"].get("secret")]
    refs += [field["secret"] for c in values["connections"].values() for field in c.values() if isinstance(field, dict)]
    for ref in filter(None, refs):
        keys.setdefault(ref["name"], set()).add(ref["key"])
    if values["tls"]["existingSecret"]:
        keys[values["tls"]["existingSecret"]] = {"tls.crt", "tls.key"} | (
            {"ca.crt"} if values["tls"]["mode"] == "mutual" else set())
    keys |= {pull["name"]: set() for pull in values["imagePullSecrets"]}
    for name, known in keys.items():
        yield {"kind": "Secret", "namespace": namespace, "name": name, "keys": sorted(known), "why": "the values"}
    auth, mutual = values["keda"]["clusterTriggerAuthentication"], values["tls"]["mode"] == "mutual"
    if auth["create"]:
        yield {"kind": "Secret", "namespace": values["keda"]["namespace"], "name": auth["secretName"],
               "keys": ["ca.crt", *(["tls.crt", "tls.key"] if mutual else [])], "why": "the values"}
    if not values["serviceAccount"]["create"]:
        yield {"kind": "ServiceAccount", "namespace": namespace, "name": values["serviceAccount"]["name"] or "default",
               "why": "the values"}


def server_file(rendered: str) -> str:
    """The server's file in what was rendered."""
    documents = yaml.load_all(rendered, getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    return next(d["data"][FILE] for d in documents if d and d["kind"] == "ConfigMap")


def notes(helm: Helm, values: Path) -> str:
    """NOTES.txt. `helm template` does not print it, so a copy of the chart renders it as an object."""
    with tree(CHART) as copy:
        template = '{{ include (print $.Template.BasePath "/NOTES.txt") . | toJson }}'
        (copy / "templates/notes.yaml").write_text(f"text: {template}\n")
        rendered = helm.template(values, "--show-only", "templates/notes.yaml", chart=copy)
        return yaml.safe_load(rendered)["text"]


def triggers_in(text: str, namespace: str) -> Iterator[Obj]:
    """The trigger of the notes as a ScaledObject, and one for each other connection that they show."""
    block = text[text.index("   triggers:\n"):].split("\n\n")[0]
    lines = block.splitlines()
    first, last = (next(i for i, line in enumerate(lines) if key in line) for key in ("  source:", "  maxQueueWait:"))
    others = [part for part in text.split("\n\n") if part.startswith("       source:")]
    for number, part in enumerate(["\n".join(lines[first:last]), *others]):
        written = "\n".join([*lines[:first], part, *lines[last:]])
        spec = yaml.safe_load(textwrap.dedent(written)) | {"minReplicaCount": 0, "maxReplicaCount": 20}
        name = f"your-worker-{number}"
        spec["scaleTargetRef"] = {"name": name}
        metadata = {"name": name, "namespace": namespace}
        data = {"apiVersion": "keda.sh/v1alpha1", "kind": "ScaledObject", "metadata": metadata, "spec": spec}
        yield Obj("NOTES.txt", data)


def notes_are_right(file: Path, text: str) -> Iterator[Outcome]:
    """The notes show a trigger for each kind of backend, on a connection of that kind, and name each Secret."""
    values = values_of(file)
    kinds = {name: c["type"].partition("-")[0] for name, c in values["connections"].items()}
    shown = []
    for trigger in triggers_in(text, "acme"):
        metadata = trigger.spec["triggers"][0]["metadata"]
        connection, source = metadata["connection"], metadata["source"]
        kind = next((k for k, s in SOURCES.items() if s == source), None)
        shown.append(kind)
        fits = kinds.get(connection) == kind or not kinds and connection == "CONNECTION"
        yield f"{file.name} notes {source}", None if fits else f"{connection} is no connection for {source}"
        lost = [row[0] for title, rows in tables.sections() if title.startswith(f"`source: {source}`")
                for row in rows if row[3] == "required" and row[0] not in metadata]
        yield f"{file.name} notes {source} keys", f"lacks {', '.join(lost)}" if lost else None
    lost = set(kinds.values()) - set(shown)
    problem = f"shows none on a connection of type {', '.join(sorted(lost))}"
    yield f"{file.name} notes sources", problem if lost else None
    said = re.search(r"The pods start once .* in \S+: (.*)\.\n", text)
    wanted = {e["name"] for e in named_outside(values, NAMESPACE)
              if (e["kind"], e["namespace"]) == ("Secret", NAMESPACE)}
    if values["tls"]["mode"] == "off":
        wanted.discard(values["tls"]["existingSecret"])       # an optional volume
    differ = wanted ^ set(said[1].split(", ") if said else [])
    yield f"{file.name} notes Secrets", f"differ by {', '.join(sorted(differ))}" if differ else None


def world_of(file: Path, rendered: str, text: str | None, namespace: str = NAMESPACE) -> World:
    """One installation, with the trigger that its notes tell the user to write."""
    values = values_of(file)
    world = World(external=list(named_outside(values, namespace)), keda=values["keda"]["namespace"])
    where = f"{file.stem}/rendered"
    add_file(world, where, rendered)
    add_file(world, f"{file.stem}/{FILE}", server_file(rendered))
    if text:
        world.objects.extend(triggers_in(text, "acme"))
    return world


def check_world(world: World, schemas: Schemas, report: Report, seen: dict[str, int]) -> None:
    for path, problem in world.unreadable:
        report.add(path, problem)
    for obj in world.objects:
        for label, errors in schemas.check(obj):
            report.add(f"{obj} ({label})", "; ".join(errors) or None)
    for rule in RULES:
        for subject, problem in rule(world):
            seen[rule.__name__] = seen.get(rule.__name__, 0) + 1
            report.add(f"{rule.__name__}: {subject}", problem)


def check_matrix(helms: list[Helm], schemas: Schemas, report: Report) -> None:
    """Each value file: linted and rendered by each Helm, the same by both, valid, and in agreement with itself."""
    before, seen = report.now, {}
    for file in VALUES:
        said = []
        for helm in helms:
            lint = helm.run("lint", "--strict", CHART, "--values", file)
            report.add(f"helm {helm.version} lint {file.name}", one_line(lint.stdout) if lint.returncode else None)
            try:
                said.append((helm.template(file), notes(helm, file)))
                report.add(f"helm {helm.version} template {file.name}", None)
            except ValueError as error:
                report.add(f"helm {helm.version} template {file.name}", one_line(error))
        if said:
            report.add(f"{file.name} is the same by all", None if len(set(said)) == 1 else "they render differently")
            check_world(world_of(file, *said[0]), schemas, report, seen)
            for subject, problem in notes_are_right(file, said[0][1]):
                report.add(subject, problem)
    for rule in RULES:
        report.add(rule.__name__, None if rule.__name__ in seen else "found nothing to look at")
    check_rules(helms[0], report)
    report.section(f"{len(VALUES)} value files with {len(helms)} Helms", before)


def check_rules(helm: Helm, report: Report) -> None:
    """The rules that are only here find a fault; the self-test of check.py plants those of the others."""
    file = CHART / "ci/everything.yaml"
    for rule, says, kind, plant in (
            (monitors_exist, "selects 0 Services", "Service", lambda d: d["metadata"].pop("labels")),
            (monitors_exist, "no port", "Service", lambda d: d["spec"]["ports"][0].update(name="other")),
            (names_fit, "too long", "ConfigMap", lambda d: d["metadata"].update(name="n" * 64))):
        world = world_of(file, helm.template(file), None)
        for obj in world.all(kind):
            plant(obj.data)
        problems = [problem for _, problem in rule(world) if problem]
        missed = None if any(says in p for p in problems) else f"it said {problems}"
        report.add(f"{rule.__name__} finds '{says}'", missed)


def check_edges(helm: Helm, schemas: Schemas, report: Report) -> None:
    """Installations that are unlike the tests' own: long names, numbers as names, a parent chart, old clusters."""
    before, file = report.now, CHART / "ci/tenants.yaml"
    long = helm.template(file, release="r" * 53, namespace="123")
    check_world(world_of(file, long, None, "123"), schemas, report, {})
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder)
        (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 0.1.0\n")
        (parent / "values.yaml").write_text("global: {region: eu}\nagent-scaler: {replicaCount: 3}\n")
        (parent / "charts").mkdir()
        (parent / "charts/agent-scaler").symlink_to(CHART)
        report.add(f"helm {helm.version} as a dependency", expect("replicas: 3", lambda: helm.template(chart=parent)))
    report.add(f"helm {helm.version} Kubernetes 1.26",
               refusals.refused(helm, "", "kubeVersion", "--kube-version", "1.26"))
    report.add(f"helm {helm.version} Kubernetes 1.27",
               expect("kind: Deployment", lambda: helm.template(None, "--kube-version", "1.27")))
    sums = {line for tick in ("5s", "6s", "5s") for line in
            helm.template(None, "--set", f"tick={tick}", "--show-only", "templates/deployment.yaml").splitlines()
            if "checksum/" in line}
    rolls = None if len(sums) == 2 else "a changed server file does not roll the pods"
    report.add(f"helm {helm.version} checksum", rolls)
    for where, nulls in (("values", None), ("a parent's values", "agent-scaler: ")):
        report.add(f"helm {helm.version} OpenShift, nulls in {where}", openshift(helm, nulls))
    report.section(f"edges with Helm {helm.version}", before)


IDS = "podSecurityContext: {runAsUser: null, runAsGroup: null, fsGroup: null}"


def openshift(helm: Helm, prefix: str | None) -> str | None:
    """None if the pods leave their ids to the namespace, as OpenShift wants, and are as restricted as ever."""
    with tempfile.TemporaryDirectory() as folder:
        parent = Path(folder)
        (parent / "values.yaml").write_text(f"{{{IDS}}}" if prefix is None else f"{prefix}{{{IDS}}}")
        try:
            if prefix is None:
                rendered = helm.template(parent / "values.yaml")
            else:
                (parent / "Chart.yaml").write_text("apiVersion: v2\nname: parent\nversion: 0.1.0\n")
                (parent / "charts").mkdir()
                (parent / "charts/agent-scaler").symlink_to(CHART)
                rendered = helm.template(chart=parent)
        except ValueError as error:
            return one_line(error)
    world = World()
    add_file(world, "openshift", rendered)
    found = world.all("Deployment")[0].pod["securityContext"]
    wanted = {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    return None if found == wanted else f"the pods have {found}"


def expect(part: str, render) -> str | None:
    try:
        return None if part in render() else f"{part!r} is not rendered"
    except ValueError as error:
        return one_line(error)


def check_manifests(helm: Helm, report: Report) -> None:
    """The plain manifests are what render.sh writes."""
    before = report.now
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder)
        done = subprocess.run(["bash", MANIFESTS / "render.sh", fresh], env=os.environ | {"HELM": str(helm.program)},
                              capture_output=True, text=True, check=False)
        report.add(f"render.sh with Helm {helm.version}", one_line(done.stderr) if done.returncode else None)
        for subject, problem in drift(fresh, MANIFESTS):
            report.add(subject, problem and f"{problem}: HELM={helm.program} deploy/manifests/render.sh")
        # The comparison itself: each of these must be found.
        with tree(fresh) as copy:
            (copy / "services.yaml").write_text("changed: true\n")
            (copy / "deployment.yaml").unlink()
            (copy / "old.yaml").write_text(f"{RENDERED} render.sh\n")
            found = {path for path, problem in drift(fresh, copy) if problem}
            planted = {"services.yaml", "deployment.yaml", "old.yaml"}
            report.add("drift is found", None if {Path(f).name for f in found} == planted else f"only in {found}")
    report.section(f"plain manifests against Helm {helm.version}", before)


def drift(fresh: Path, old: Path) -> Iterator[Outcome]:
    """What is not as it was rendered, and what claims to be rendered and is not."""
    made = {p.relative_to(fresh): p.read_text() for p in fresh.rglob("*.yaml")}
    marked = {p.relative_to(old) for p in old.rglob("*.yaml") if p.read_text().startswith(RENDERED)}
    for path in sorted(made.keys() | marked):
        there = (old / path).read_text() if (old / path).exists() else None
        problem = None if made.get(path) == there else "is not what the chart renders"
        yield f"deploy/manifests/{path}", problem


def check_words(report: Report) -> None:
    before = report.now
    report.add("deploy/charts/agent-scaler/README.md", tables.drift())
    report.add("deploy/charts/agent-scaler/values.schema.json", connections.drift())
    for subject, problem in tables.drifted_keys():
        report.add(subject, problem)
    report.section("words about values", before)


def write_server_files(folder: Path, helm: Helm) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for file in VALUES:
        target = folder / file.name
        target.write_text(server_file(helm.template(file)))
        print(target)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server-files", type=Path, metavar="DIR", help="write the server's file of each value file")
    parser.add_argument("--table", action="store_true",
                        help="write the schema's connections, and the README's table of values")
    args = parser.parse_args()
    if args.table:
        path = CHART / "README.md"
        connections.SCHEMA.write_text(connections.fresh(connections.SCHEMA.read_text()))
        path.write_text(tables.readme(path.read_text()))
        return 0
    helms, missing = all_helms()
    if args.server_files:
        if not helms:
            print("\n".join(missing), file=sys.stderr)
            return 1
        write_server_files(args.server_files, helms[-1])
        return 0
    report, schemas = Report(), Schemas()
    for problem in [*missing, *schemas.missing]:
        report.add("tools", problem)
    check_words(report)
    if helms:
        check_matrix(helms, schemas, report)
        effects.check(helms, report)
    for helm in helms:
        check_manifests(helm, report)
        check_edges(helm, schemas, report)
        refusals.check(helm, VALUES, values_of, report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
