"""Proves that the checks find faults: each is planted in a copy of the real manifests, in memory.

A rule that never fails looks like a rule that holds. So every rule has at least one fault, in each kind of object that
it looks at, and a rule without one fails the self-test; so does a fault that was there before it was planted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace

import model
from faults import FAULTS, Fault, get
from kinds import convert
from model import Obj, World
from schemas import MODULES, Schemas


def container(spec: dict) -> dict:
    return spec["template"]["spec"]["containers"][0]


# Kind, name, what the error names, and the fault.
SCHEMA_FAULTS = (
    ("Deployment", "agent-worker", "replicaz", lambda d: d["spec"].update(replicaz=1)),
    ("Deployment", "agent-worker", "'selector' is a required", lambda d: d["spec"].pop("selector")),
    ("Deployment", "agent-worker", "readonlyRootFilesystem",
     lambda d: container(d["spec"])["securityContext"].update(readonlyRootFilesystem=True)),
    ("Service", "agent-scaler", "publishNotReady", lambda d: d["spec"].update(publishNotReady=False)),
    ("PodDisruptionBudget", "agent-scaler", "unhealthyPodEviction",
     lambda d: d["spec"].update(unhealthyPodEviction="x")),
    ("NetworkPolicy", "agent-scaler", "policyType", lambda d: d["spec"].update(policyType=[])),
    ("HorizontalPodAutoscaler", "agent-api", "targetCPUUtilizationPercentage",
     lambda d: d["spec"].update(targetCPUUtilizationPercentage=70)),
    ("Deployment", "agent-api", "second'",
     lambda d: container(d["spec"])["lifecycle"]["preStop"]["sleep"].update(second=1)),
    ("Namespace", "acme", "label", lambda d: d["metadata"].update(label={})),
    ("ScaledObject", "agent-worker", "coolDownPeriod", lambda d: d["spec"].update(coolDownPeriod=1)),
    ("ScaledObject", "agent-worker", "pollingInterval", lambda d: d["spec"].update(pollingInterval=0)),
    ("ScaledObject", "agent-worker", "is not of type 'string'",
     lambda d: d["spec"]["triggers"][0]["metadata"].update(tasksPerReplica=4)),
    ("ScaledObject", "agent-worker", "stabilisationWindowSeconds",
     lambda d: d["spec"]["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]["scaleUp"].update(
         stabilisationWindowSeconds=1)),
    ("ScaledObject", "agent-worker", "nameSpace", lambda d: d["metadata"].update(nameSpace="acme")),
    ("ClusterTriggerAuthentication", "agent-scaler-mutual-tls", "secretTargetRefs",
     lambda d: d["spec"].update(secretTargetRefs=[])),
    ("NodePool", "agents-gpu", "ttlSecondsAfterEmpty", lambda d: d["spec"].update(ttlSecondsAfterEmpty=30)),
    ("NodePool", "agents-gpu", "'WhenUnderutilized' is not one of",
     lambda d: d["spec"]["disruption"].update(consolidationPolicy="WhenUnderutilized")),
    ("NodePool", "agents-gpu", "does not match",
     lambda d: d["spec"]["template"]["spec"].update(terminationGracePeriod="2 hours")),
    ("EC2NodeClass", "agents-gpu", "amiSelector'", lambda d: d["spec"].update(amiSelector={})),
    ("EC2NodeClass", "agents-gpu", "securityGroupSelectorTerms", lambda d: d["spec"].pop("securityGroupSelectorTerms")),
)


def run(world: World, schemas: Schemas, rules: tuple, report) -> None:
    by_name = {rule.__name__: rule for rule in rules}
    for name, rule in by_name.items():
        problems = [p for _, p in rule(world) if p]
        report.add(f"{name} holds before any fault", problems[0] if problems else None)
        faults = [fault for fault in FAULTS if fault.rule == name]
        report.add(f"{name} has a fault", None if faults else "no fault is planted for it")
        lost = set(getattr(rule, "kinds", ())) - {kind for fault in faults for kind in fault.kinds}
        report.add(f"{name} has a fault in each kind", f"none in {', '.join(sorted(lost))}" if lost else None)
    for fault in FAULTS:
        for kind in fault.kinds or (None,):
            where = f" in a {kind}" if kind else ""
            report.add(f"{fault.rule} finds '{fault.says}'{where}", missed(fault, kind, world, by_name[fault.rule]))
    for problem in schemas.missing:
        report.add("schemas", problem)
    for kind, name, says, plant in SCHEMA_FAULTS:
        report.add(f"the schema of {kind} finds '{says}'", missed_by_schema(kind, name, says, plant, world, schemas))
    edges(schemas, report)


def missed(fault: Fault, kind: str | None, world: World, rule: Callable) -> str | None:
    broken = copy.deepcopy(world)
    if kind:
        scaler, workload = convert(broken, fault.base, kind)
        before = [problem for _, problem in rule(broken) if problem and fault.says in problem]
        if before:
            return f"it said so before the fault: {before[0]}"
        fault.plant(broken, scaler, workload)
    else:
        fault.plant(broken)
    problems = [p for _, p in rule(broken) if p]
    return None if any(fault.says in p for p in problems) else f"not found; it said {problems or 'nothing'}"


def missed_by_schema(kind: str, name: str, says: str, plant: Callable, world: World, schemas: Schemas) -> str | None:
    """Every schema that applies must find it: the older and the newer Kubernetes, the older and the newer Karpenter."""
    obj = Obj("planted", copy.deepcopy(get(world, kind, name)))
    if any(errors for _, errors in schemas.check(obj)):
        return "the object has errors before the fault"
    plant(obj.data)
    silent = [label for label, errors in schemas.check(obj) if not any(says in e for e in errors)]
    return f"not found by {', '.join(silent)}" if silent else None


def edges(schemas: Schemas, report) -> None:
    """What must not pass in silence: unknown kinds, broken files, a schema that cannot be fetched."""
    unknown = schemas.check(Obj("planted", {"apiVersion": "example.com/v1", "kind": "Thing", "metadata": {}}))
    report.add("a kind without schema fails", None if unknown[0][1] else "it passed")
    unknown = schemas.check(Obj("planted", {"apiVersion": "apps/v1", "kind": "Deploymint", "metadata": {}}))
    report.add("a misspelt core kind fails", None if unknown[0][1] else "it passed")
    for text, why in (("a: 1\na: 2\n", "a doubled key"), ("a: [", "broken YAML"), ("", "an empty file"),
                      ("just: text\n", "a file of no known kind")):
        world = World()
        model.add_file(world, "planted.yaml", text)
        report.add(f"{why} fails", None if world.unreadable else "it passed")
    # A wrong sum of a module that is in the cache already: needs no network, and fails where the module does.
    forged = Schemas((replace(MODULES[0], sum="h1:wrong"),))
    report.add("a module with another content fails", None if forged.missing and not forged.crds else "it passed")
