"""Proves that the checks find faults: each is planted in a copy of the real manifests, in memory.

A rule that never fails looks like a rule that holds. So every rule has at least one fault here, and a rule without
one fails the self-test; so does a fault that was there before it was planted.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

import model
from model import Obj, World
from schemas import MODULES, Schemas


class Fault(NamedTuple):
    rule: str
    says: str                          # part of the message that must come
    plant: Callable[[World], object]


def get(w: World, kind: str, name: str) -> dict:
    found = w.find(kind, name)
    if not found:
        raise LookupError(f"the manifests have no {kind} {name}: the self-test needs it")
    return found.data


def drop(w: World, kind: str, name: str) -> None:
    w.objects = [o for o in w.objects if (o.kind, o.name) != (kind, name)]


def move(w: World, kind: str, name: str, path: str) -> None:
    next(o for o in w.objects if (o.kind, o.name) == (kind, name)).path = path


def kustomization(w: World) -> dict:
    return next(k.data for k in w.kustomizations if k.folder == "deploy/manifests")


def server(w: World) -> dict:
    return w.servers[0].data


def worker(w: World) -> dict:
    return get(w, "Deployment", "agent-worker")["spec"]


def gpu(w: World) -> dict:
    return get(w, "Deployment", "agent-worker-gpu")["spec"]


def scaled(w: World, name: str = "agent-worker") -> dict:
    return get(w, "ScaledObject", name)["spec"]


def metadata(w: World, name: str = "agent-worker") -> dict:
    return scaled(w, name)["triggers"][0]["metadata"]


def pool(w: World) -> dict:
    return get(w, "NodePool", "agents-gpu")["spec"]


def container(spec: dict) -> dict:
    return spec["template"]["spec"]["containers"][0]


def api(w: World) -> dict:
    return get(w, "Deployment", "agent-api")["spec"]


def autoscaler(w: World) -> dict:
    return get(w, "HorizontalPodAutoscaler", "agent-api")["spec"]


def variable(w: World, name: str) -> dict:
    return next(v for v in container(api(w))["env"] if v["name"] == name)


def behaviour(w: World) -> dict:
    return scaled(w)["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]


POD_FAULTS = (
    Fault("selector_in_template", "is not part of",
          lambda w: worker(w)["template"]["metadata"]["labels"].update({"app.kubernetes.io/name": "other"})),
    Fault("selected_pods_exist", "matches no Deployment",
          lambda w: get(w, "PodDisruptionBudget", "agent-worker")["spec"]["selector"]["matchLabels"].update(x="y")),
    Fault("selected_pods_exist", "matches no Deployment",
          lambda w: get(w, "Service", "agent-scaler")["spec"].update(selector={"x": "y"})),
    Fault("selected_pods_exist", "matches no Deployment",
          lambda w: get(w, "NetworkPolicy", "agent-scaler")["spec"].update(podSelector={"matchLabels": {"x": "y"}})),
    Fault("ports_exist", "port 'gone' is not one of",
          lambda w: container(worker(w))["livenessProbe"]["httpGet"].update(port="gone")),
    Fault("ports_exist", "port 'gone' is not a port of",
          lambda w: get(w, "Service", "agent-scaler-http")["spec"]["ports"][0].update(targetPort="gone")),
    Fault("ports_exist", "port 'gone' is not a port of",
          lambda w: get(w, "NetworkPolicy", "agent-scaler")["spec"]["ingress"][0]["ports"][0].update(port="gone")),
    Fault("mounts_exist", "Secret agent-scaler-redis is neither", lambda w: drop(w, "Secret", "agent-scaler-redis")),
    Fault("mounts_exist", "ServiceAccount agent-scaler is neither",
          lambda w: drop(w, "ServiceAccount", "agent-scaler")),
    Fault("mounts_exist", "ConfigMap agent-scaler is neither",
          lambda w: [k.data.pop("configMapGenerator", None) for k in w.kustomizations]),
    Fault("mounts_exist", "has no key password",
          lambda w: get(w, "Secret", "agent-scaler-redis")["stringData"].pop("password")),
    Fault("mounts_exist", "Secret agent-worker-redis is neither", lambda w: w.external.pop(0)),
    Fault("mounts_exist", "volumeMounts without volume",
          lambda w: worker(w)["template"]["spec"].update(volumes=[])),
    Fault("external_is_used", "no manifest names it", lambda w: w.external[0].update(name="unused")),
    Fault("external_is_used", "does not say why", lambda w: w.external[0].pop("why")),
    Fault("restricted", "lacks runAsNonRoot",
          lambda w: worker(w)["template"]["spec"]["securityContext"].pop("runAsNonRoot")),
    Fault("restricted", "capabilities drop ALL",
          lambda w: container(worker(w))["securityContext"].update(
         capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
    Fault("restricted", "readOnlyRootFilesystem",
          lambda w: container(worker(w))["securityContext"].update(readOnlyRootFilesystem=False)),
    Fault("restricted", "allowPrivilegeEscalation",
          lambda w: container(worker(w))["securityContext"].pop("allowPrivilegeEscalation")),
    Fault("restricted", "automountServiceAccountToken",
          lambda w: worker(w)["template"]["spec"].pop("automountServiceAccountToken")),
    Fault("restricted", "seccompProfile",
          lambda w: worker(w)["template"]["spec"]["securityContext"].pop("seccompProfile")),
    Fault("restricted", "memory limit", lambda w: container(worker(w))["resources"].pop("limits")),
    Fault("no_old_external_secrets", "names external-secrets.io/v1beta1",
          lambda w: w.texts.update({"deploy/x.yaml": "apiVersion: external-secrets.io/v1beta1"})),
    Fault("kustomizations_complete", "services.yaml",
          lambda w: kustomization(w)["resources"].remove("services.yaml")),
    Fault("kustomizations_complete", "gone.yaml", lambda w: kustomization(w)["resources"].append("gone.yaml")),
)

KEDA_FAULTS = (
    Fault("target_exists", "target gone is not in", lambda w: scaled(w)["scaleTargetRef"].update(name="gone")),
    Fault("target_exists", "target list-worker is not in", lambda w: w.external.pop(1)),
    Fault("one_per_target", "is already scaled by",
          lambda w: scaled(w, "list-worker")["scaleTargetRef"].update(name="stream-worker")),
    Fault("no_replicas", "has replicas: 3", lambda w: worker(w).update(replicas=3)),
    Fault("name_fits", "has 55 characters",
          lambda w: get(w, "ScaledObject", "agent-worker")["metadata"].update(name="a" * 55)),
    Fault("metadata_is_text", "4 is not a string", lambda w: metadata(w).update(tasksPerReplica=4)),
    Fault("metadata_is_known", "unknown trigger keys: listname", lambda w: metadata(w).update(listname="acme:x")),
    Fault("metadata_is_known", "is not a duration", lambda w: metadata(w).update(maxQueueWait="2 minutes")),
    Fault("metadata_is_known", "is not a duration", lambda w: metadata(w).update(drainTime="30")),
    Fault("bounds_agree", "20 in the spec, 21 in the trigger", lambda w: metadata(w).update(maxReplicaCount="21")),
    Fault("bounds_agree", "0 in the spec, None in the trigger", lambda w: metadata(w).pop("minReplicaCount")),
    Fault("errors_do_not_scale_in", "fallback static",
          lambda w: scaled(w).update(fallback={"failureThreshold": 3, "replicas": 2})),
    Fault("errors_do_not_scale_in", "fallback currentReplicasIfLower",
          lambda w: scaled(w).update(fallback={"behavior": "currentReplicasIfLower", "replicas": 2})),
    Fault("errors_do_not_scale_in", "must be AverageValue",
          lambda w: scaled(w)["triggers"][0].update(metricType="Value")),
    Fault("errors_do_not_scale_in", "scalingModifiers",
          lambda w: scaled(w)["advanced"].update(scalingModifiers={"formula": "a", "target": "1"})),
    Fault("errors_do_not_scale_in", "maximum over several", lambda w: scaled(w)["triggers"].append({"type": "cron"})),
    Fault("small_steps_reach_the_hpa", "scaleUp.tolerance is None", lambda w: behaviour(w)["scaleUp"].pop("tolerance")),
    Fault("small_steps_reach_the_hpa", "scaleDown.tolerance is 0.1",
          lambda w: behaviour(w)["scaleDown"].update(tolerance="0.1")),
    Fault("grace_covers_drain", "shorter than drainTime 1800 s",
          lambda w: worker(w)["template"]["spec"].update(terminationGracePeriodSeconds=1799)),
    Fault("address_is_ours", "is no Service of the set",
          lambda w: metadata(w).update(scalerAddress="agent-scaler:9090")),
    Fault("address_is_ours", "has no port 9091",
          lambda w: metadata(w).update(scalerAddress="agent-scaler.agent-scaler.svc.cluster.local:9091")),
    Fault("address_is_ours", "is not headless", lambda w: get(w, "Service", "agent-scaler")["spec"].pop("clusterIP")),
    Fault("tenant_may", "may not watch other:tasks", lambda w: metadata(w).update(listName="other:tasks")),
    Fault("tenant_may", "namespace acme may not watch", lambda w: server(w).update(tenants={})),
    Fault("tenant_may", "may not watch acme:tasks", lambda w: metadata(w).update(connection="redis-other")),
    Fault("server_file", "unknown: listenOn", lambda w: server(w).update(listenOn="x")),
    Fault("server_file", "unknown: pass", lambda w: server(w)["connections"]["redis-main"].update({"pass": "x"})),
    Fault("server_file", "unknown connections: redis-x",
          lambda w: server(w)["tenants"]["acme"]["connections"].update({"redis-x": ["*"]})),
    Fault("tenant_may", "may not watch other:agents",
          lambda w: metadata(w, "limited-worker").update(workerScope="other:agents")),
    Fault("tenant_may", "may not use the limit openai", lambda w: metadata(w).update(llmLimit="openai")),
    Fault("server_file", "unknown: perMinute",
          lambda w: server(w)["llmLimits"]["anthropic-prod"].update(perMinute=1)),
    Fault("server_file", "unknown: tokens",
          lambda w: server(w)["llmLimits"]["anthropic-prod"]["usePerTask"].update(tokens=1)),
    Fault("server_file", "unknown: limits", lambda w: server(w)["tenants"]["acme"].update(limits=[])),
    Fault("server_file", "unknown connection: redis-x",
          lambda w: server(w)["llmLimits"]["anthropic-prod"].update(workersConnection="redis-x")),
    Fault("server_file", "unknown limits: openai",
          lambda w: server(w)["tenants"]["acme"]["llmLimits"].append("openai")),
    Fault("server_file", "port 9999 is not a port", lambda w: server(w).update(listen="0.0.0.0:9999")),
    Fault("server_file", "/secrets/gone is not mounted",
          lambda w: server(w)["connections"]["redis-main"].update(password={"file": "/secrets/gone"})),
    Fault("server_file", "/tls/gone.crt is not mounted",
          lambda w: server(w)["tls"].update(certificate="/tls/gone.crt")),
    Fault("trigger_authentication", "with the key tls.key",
          lambda w: get(w, "Secret", "agent-scaler-client-tls")["stringData"].pop("tls.key")),
    Fault("trigger_authentication", "no Secret keda/", lambda w: drop(w, "Secret", "agent-scaler-client-tls")),
)

NODE_FAULTS = (
    Fault("pool_exists", "pool agents-gpu is not in", lambda w: drop(w, "NodePool", "agents-gpu")),
    Fault("pool_exists", "no worker asks for it", lambda w: drop(w, "Deployment", "agent-worker-gpu")),
    Fault("pool_exists", "node class agents-gpu is not in", lambda w: drop(w, "EC2NodeClass", "agents-gpu")),
    Fault("pool_is_bounded", "has no limits", lambda w: pool(w).pop("limits")),
    Fault("pool_is_bounded", "maxReplicaCount needs 8, the pool allows 4",
          lambda w: pool(w)["limits"].update({"nvidia.com/gpu": 4})),
    Fault("pool_waits_for_pods", "the pool waits 1h",
          lambda w: pool(w)["template"]["spec"].update(terminationGracePeriod="1h")),
    Fault("pool_waits_for_pods", "has no terminationGracePeriod",
          lambda w: pool(w)["template"]["spec"].pop("terminationGracePeriod")),
    Fault("taints_tolerated", "does not tolerate", lambda w: gpu(w)["template"]["spec"].pop("tolerations")),
    Fault("taints_tolerated", "does not tolerate",
          lambda w: gpu(w)["template"]["spec"]["tolerations"][0].update(value="false")),
    Fault("taints_tolerated", "has no taint", lambda w: pool(w)["template"]["spec"].pop("taints")),
    Fault("start_fits", "nodeStartupTime is not set", lambda w: metadata(w, "agent-worker-gpu").pop("nodeStartupTime")),
    Fault("start_fits", "cooldownPeriod 300", lambda w: scaled(w, "agent-worker-gpu").update(cooldownPeriod=300)),
    Fault("start_fits", "gives up after 300 s",
          lambda w: container(gpu(w))["startupProbe"].update(failureThreshold=30)),
    Fault("start_fits", "gives up after 0 s", lambda w: container(gpu(w)).pop("startupProbe")),
    Fault("start_fits", "progressDeadlineSeconds 600", lambda w: gpu(w).pop("progressDeadlineSeconds")),
    Fault("long_work_is_protected", "lacks karpenter.sh/do-not-disrupt",
          lambda w: worker(w)["template"]["metadata"]["annotations"].pop("karpenter.sh/do-not-disrupt")),
)

API_FAULTS = (
    Fault("autoscaler_can_act", "its target is not in", lambda w: autoscaler(w)["scaleTargetRef"].update(name="gone")),
    Fault("autoscaler_can_act", "agent-api has replicas", lambda w: api(w).update(replicas=2)),
    Fault("autoscaler_can_act", "requests no cpu",
          lambda w: container(api(w))["resources"]["requests"].pop("cpu")),
    Fault("autoscaler_can_act", "a ScaledObject scales agent-worker too",
          lambda w: (autoscaler(w)["scaleTargetRef"].update(name="agent-worker"),
                     move(w, "HorizontalPodAutoscaler", "agent-api", "deploy/manifests/worker/x.yaml"))),
    Fault("outlives_a_node", "minReplicas is 1", lambda w: autoscaler(w).pop("minReplicas")),
    Fault("outlives_a_node", "is not spread over topology.kubernetes.io/zone",
          lambda w: api(w)["template"]["spec"]["topologySpreadConstraints"].pop()),
    Fault("outlives_a_node", "is not spread over kubernetes.io/hostname",
          lambda w: api(w)["template"]["spec"]["topologySpreadConstraints"][0]["labelSelector"].update(
              matchLabels={"x": "y"})),
    Fault("outlives_a_node", "has no PodDisruptionBudget", lambda w: drop(w, "PodDisruptionBudget", "agent-api")),
    Fault("outlives_a_node", "has no NetworkPolicy", lambda w: drop(w, "NetworkPolicy", "agent-api")),
    Fault("ends_without_an_error", "preStop does not sleep", lambda w: container(api(w)).pop("lifecycle")),
    Fault("ends_without_an_error", "grace period 25 s is not longer",
          lambda w: api(w)["template"]["spec"].update(terminationGracePeriodSeconds=25)),
    Fault("ends_without_an_error", "grace period 35 s is not longer",
          lambda w: variable(w, "DRAIN").update(value="30s")),
    Fault("ends_without_an_error", "livenessProbe must ask /livez",
          lambda w: container(api(w))["livenessProbe"]["httpGet"].update(path="/readyz")),
    Fault("tasks_have_workers", "watches the list acme:other",
          lambda w: variable(w, "QUEUE").update(value="acme:other")),
    Fault("tasks_have_workers", "watches the stream acme:tasks",
          lambda w: variable(w, "QUEUE_KIND").update(value="stream")),
    Fault("tasks_have_workers", "has the scope gone", lambda w: variable(w, "LIMIT").update(value="gone")),
)

FAULTS = (*POD_FAULTS, *KEDA_FAULTS, *NODE_FAULTS, *API_FAULTS)

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
        planted = any(fault.rule == name for fault in FAULTS)
        report.add(f"{name} has a fault", None if planted else "no fault is planted for it")
    for fault in FAULTS:
        report.add(f"{fault.rule} finds '{fault.says}'", missed(fault, world, by_name[fault.rule]))
    for problem in schemas.missing:
        report.add("schemas", problem)
    for kind, name, says, plant in SCHEMA_FAULTS:
        report.add(f"the schema of {kind} finds '{says}'", missed_by_schema(kind, name, says, plant, world, schemas))
    edges(schemas, report)


def missed(fault: Fault, world: World, rule: Callable) -> str | None:
    broken = copy.deepcopy(world)
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
