"""Rules between a ScaledObject or ScaledJob, what it scales, and the scaler that it asks."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

import tables
from model import SCALABLE, Obj, Outcome, World, containers, looks_at, seconds
from rules_pods import keys_of, mounted_files

KEYS = ({"scalerAddress", "enableTLS"} | tables.keys("Keys of every trigger") | tables.keys("`source: ")
        | tables.keys("Queries of Prometheus"))
DURATIONS = {k for k in KEYS if k.endswith(("Time", "Wait", "Duration", "Target", "After"))}
# Sources whose queues are named as they are watched; those of frameworks make several names out of one.
PLAIN = {"redis", "redis-streams"}
# A ScaledObject on each kind that it may scale, and a ScaledJob.
SCALED = (*SCALABLE, "ScaledJob")
QUEUES = ("listName", "processingListName", "stream")
SERVER_KEYS = tables.keys("Top of the server's file") | {"tls", "connections", "llmLimits", "tenants", "defaults"}
TLS_KEYS = tables.keys("Under `tls`")
DEFAULT_KEYS = tables.keys("Under `defaults`")
LIMIT_KEYS = tables.keys("Under `llmLimits.NAME`")
USE_KEYS = tables.keys("Under `llmLimits.NAME.usePerTask`")
TENANT_KEYS = tables.keys("Under `tenants.NAMESPACE`")
CONNECTION_KEYS = functools.cache(lambda kind: tables.keys(f"`connections.NAME` of `type: {kind}`") | {"type"})


@looks_at(*SCALABLE)
def target_exists(world: World) -> Iterator[Outcome]:
    """The target lies in the ScaledObject's folder, or external.yaml says whose it is."""
    for s in world.all("ScaledObject"):
        ref = s.spec.get("scaleTargetRef", {})
        kind, name = ref.get("kind", "Deployment"), ref.get("name", "")
        here = world.find(kind, name, s.namespace, s.folder) or world.listed(kind, name, s.namespace)
        yield str(s), None if here else f"target {name} is not in {s.folder} and not in external.yaml"


@looks_at(*SCALABLE)
def one_per_target(world: World) -> Iterator[Outcome]:
    """Two ScaledObjects on one workload fight over its number; KEDA's webhook refuses the second."""
    seen: dict[tuple, str] = {}
    for s in world.all("ScaledObject"):
        ref = s.spec.get("scaleTargetRef", {})
        key = (s.namespace, ref.get("kind", "Deployment"), ref.get("name"))
        yield str(s), f"{key[2]} is already scaled by {seen[key]}" if key in seen else None
        seen[key] = str(s)


@looks_at(*SCALABLE)
def no_replicas(world: World) -> Iterator[Outcome]:
    """A scaled workload has no `replicas`: each apply would set the number back and end running tasks."""
    for s, d in world.scaled():
        yield str(d), f"has replicas: {d.spec['replicas']}, but {s.name} scales it" if "replicas" in d.spec else None


@looks_at(*SCALED)
def name_fits(world: World) -> Iterator[Outcome]:
    """KEDA puts `keda-hpa-` before the name, or `-` and five letters after it, and the result must have at most 63
    characters."""
    for kind, most in (("ScaledObject", 54), ("ScaledJob", 57)):
        for s in world.all(kind):
            problem = f"the name has {len(s.name)} characters, at most {most} are allowed"
            yield str(s), problem if len(s.name) > most else None


@looks_at(*SCALED)
def metadata_is_text(world: World) -> Iterator[Outcome]:
    """KEDA refuses metadata values that are not strings: quote numbers and booleans."""
    for s, trigger in world.triggers():
        for key, value in trigger.get("metadata", {}).items():
            yield f"{s} {key}", None if isinstance(value, str) else f"{value!r} is not a string: quote it"


@looks_at(*SCALED)
def metadata_is_known(world: World) -> Iterator[Outcome]:
    """Only keys that the scaler knows, with durations that it can read."""
    for s, trigger in world.triggers():
        metadata = trigger.get("metadata", {})
        unknown = sorted(set(metadata) - KEYS)
        yield str(s), f"unknown trigger keys: {', '.join(unknown)}" if unknown else None
        for key in sorted(DURATIONS & set(metadata)):
            try:
                seconds(metadata[key])
                yield f"{s} {key}", None
            except ValueError as error:
                yield f"{s} {key}", str(error)


@looks_at(*SCALED)
def bounds_agree(world: World) -> Iterator[Outcome]:
    """KEDA does not send its bounds, so the trigger repeats them; they must be the same."""
    for s, trigger in world.triggers():
        for key in ("minReplicaCount", "maxReplicaCount"):
            spec, said = s.spec.get(key), trigger.get("metadata", {}).get(key)
            if s.kind == "ScaledJob" and key == "minReplicaCount" and said is None:
                said = "0" if spec is None else spec if spec == 0 else None      # 0 is the default of both
                spec = spec or 0
            yield f"{s} {key}", None if str(spec) == str(said) else f"{spec} in the spec, {said} in the trigger"


@looks_at(*SCALABLE)
def errors_do_not_scale_in(world: World) -> Iterator[Outcome]:
    """No setting that turns "no answer" into fewer replicas, and one trigger that is the whole demand."""
    for s, trigger in world.triggers(("ScaledObject",)):
        behaviour = s.spec.get("fallback", {"behavior": "currentReplicas"}).get("behavior", "static")
        advanced = s.spec.get("advanced", {})
        wrong = []
        if behaviour not in ("currentReplicas", "currentReplicasIfHigher"):
            wrong.append(f"fallback {behaviour} can scale in while the scaler has no answer")
        if trigger.get("metricType") != "AverageValue":
            wrong.append("metricType must be AverageValue")
        if advanced.get("scalingModifiers"):
            wrong.append("scalingModifiers replace the scaler's number")
        if len(s.spec["triggers"]) > 1:
            wrong.append("KEDA takes the maximum over several triggers, which lifts every cap")
        yield str(s), "; ".join(wrong) or None


@looks_at("ScaledJob")
def jobs_run_to_their_end(world: World) -> Iterator[Outcome]:
    """No change of a ScaledJob ends its Jobs, and KEDA starts as many as there are tasks without one."""
    for s, trigger in world.triggers(("ScaledJob",)):
        wrong, template = [], s.spec.get("jobTargetRef", {})
        # The deprecated key outranks the other.
        if (s.spec.get("rolloutStrategy") or s.spec.get("rollout", {}).get("strategy")) != "gradual":
            wrong.append("rollout.strategy is not gradual: each change of the object ends all running Jobs")
        if s.spec.get("scalingStrategy", {}).get("strategy", "default") != "default":
            wrong.append("scalingStrategy must be default: the value counts running tasks")
        if trigger.get("type") != "external":
            wrong.append("type must be external: KEDA listens to no push for a ScaledJob")
        if "metricType" in trigger:
            wrong.append("KEDA refuses a ScaledJob whose trigger names a metricType")
        if trigger.get("metadata", {}).get("workload") != "job":
            wrong.append("the trigger must say workload: job")
        if {template.get("parallelism", 1), template.get("completions", 1)} != {1}:
            wrong.append("parallelism and completions must be 1: a Job is counted for one task")
        if len(s.spec["triggers"]) > 1:
            wrong.append("KEDA takes the maximum over several triggers, which lifts every cap")
        yield str(s), "; ".join(wrong) or None


@looks_at(*SCALABLE)
def small_steps_reach_the_hpa(world: World) -> Iterator[Outcome]:
    """Without a tolerance of 0 the HPA ignores changes of up to 10 %."""
    for s, _ in world.triggers(("ScaledObject",)):
        behaviour = s.spec.get("advanced", {}).get("horizontalPodAutoscalerConfig", {}).get("behavior", {})
        for side in ("scaleUp", "scaleDown"):
            tolerance = behaviour.get(side, {}).get("tolerance")
            yield f"{s} {side}", None if str(tolerance) == "0" else f"{side}.tolerance is {tolerance}, not 0"


@looks_at(*SCALED)
def grace_covers_drain(world: World) -> Iterator[Outcome]:
    """A worker that may drain for `drainTime` is not killed earlier."""
    for s, d in world.scaled():
        for trigger in s.spec.get("triggers", []):
            drain = seconds(trigger["metadata"].get("drainTime", "0s"))
            grace = d.pod.get("terminationGracePeriodSeconds", 30)
            yield str(d), None if grace >= drain else f"grace period {grace} s is shorter than drainTime {drain:.0f} s"


@looks_at(*SCALED)
def address_is_ours(world: World) -> Iterator[Outcome]:
    """`scalerAddress` is a headless Service of the set and one of its ports."""
    for s, trigger in world.triggers():
        address = trigger.get("metadata", {}).get("scalerAddress", "")
        match = re.fullmatch(r"([^.]+)\.([^.]+)\.svc\.cluster\.local:(\d+)", address)
        service = world.find("Service", match[1], match[2]) if match else None
        if not service:
            problem = f"{address!r} is no Service of the set"
        elif service.spec.get("clusterIP") != "None":
            problem = f"Service {service.name} is not headless: KEDA would stay with one pod"
        elif int(match[3]) not in [p["port"] for p in service.spec.get("ports", [])]:
            problem = f"Service {service.name} has no port {match[3]}"
        else:
            problem = None
        yield str(s), problem


@looks_at(*SCALED)
def tenant_may(world: World) -> Iterator[Outcome]:
    """The server's file lets the ScaledObject's namespace watch these queues and workers, and share this limit."""
    for server in world.servers:
        for s, trigger in world.triggers():
            metadata = trigger.get("metadata", {})
            if metadata.get("source") not in PLAIN:
                continue
            tenant = (server.data.get("tenants") or {}).get(s.namespace, {})
            queues = [n.strip() for key in QUEUES if key in metadata for n in metadata[key].split(",")]
            limit = metadata.get("llmLimit")
            problems = [] if queues else ["names no queue"]
            for connection, names in ((metadata.get("connection"), queues), workers_at(server, metadata, queues)):
                patterns = tenant.get("connections", {}).get(connection, [])
                refused = [n for n in names if not any(matches(p, n) for p in patterns)]
                if refused:
                    problems.append(f"namespace {s.namespace} may not watch {', '.join(refused)}")
            if limit and limit not in tenant.get("llmLimits", []):
                problems.append(f"namespace {s.namespace} may not use the limit {limit}")
            yield f"{s} ↔ {server.path}", "; ".join(problems) or None


def workers_at(server: Obj, metadata: dict, queues: list[str]) -> tuple[str | None, list[str]]:
    """Where the workers report, and under which name; no name where they do not report."""
    limit = (server.data.get("llmLimits") or {}).get(metadata.get("llmLimit"), {})
    connection = metadata.get("workersConnection", limit.get("workersConnection"))
    return connection, [metadata.get("workerScope", queues[0] if queues else "")] if connection else []


def matches(pattern: str, name: str) -> bool:
    return re.fullmatch(".*".join(map(re.escape, pattern.split("*"))), name) is not None


def server_file(world: World) -> Iterator[Outcome]:
    """The server's file holds known keys, known connections, the Deployment's ports, and files that are mounted."""
    for server in world.servers:
        data = server.data
        unknown = set(data) - SERVER_KEYS | set(data.get("tls", {})) - TLS_KEYS
        unknown |= set(data.get("defaults", {})) - DEFAULT_KEYS
        for connection in data.get("connections", {}).values():
            unknown |= set(connection) - CONNECTION_KEYS(connection["type"])
        limits, tenants = data.get("llmLimits") or {}, data.get("tenants") or {}
        for limit in limits.values():
            unknown |= set(limit) - LIMIT_KEYS | set(limit.get("usePerTask", {})) - USE_KEYS
        for tenant in tenants.values():
            unknown |= set(tenant) - TENANT_KEYS
        yield f"{server.path} keys", f"unknown: {', '.join(sorted(unknown))}" if unknown else None
        for name, limit in limits.items():
            lost = {limit.get("workersConnection")} - set(data.get("connections", {}))
            yield f"{server.path} limit {name}", f"unknown connection: {lost.pop()}" if lost else None
        for name, tenant in tenants.items():
            lost = set(tenant.get("connections", {})) - set(data.get("connections", {}))
            yield f"{server.path} tenant {name}", f"unknown connections: {', '.join(sorted(lost))}" if lost else None
            lost = set(tenant.get("llmLimits", [])) - set(limits)
            yield f"{server.path} tenant {name}", f"unknown limits: {', '.join(sorted(lost))}" if lost else None
        for d in readers_of(world, server):
            yield from server_fits(world, server, d)


def readers_of(world: World, server: Obj) -> list[Obj]:
    """The workloads that mount the ConfigMap made of this file."""
    names = {g["name"] for k in world.kustomizations if k.folder == server.folder
             for g in k.data.get("configMapGenerator", []) if PurePosixPath(server.path).name in g.get("files", [])}
    names |= {c.name for c in world.all("ConfigMap") if c.folder == server.folder
              and PurePosixPath(server.path).name in c.data.get("data", {})}
    return [d for d in world.workloads() if d.folder == server.folder
            and any(v.get("configMap", {}).get("name") in names for v in d.pod.get("volumes", []))]


def server_fits(world: World, server: Obj, d: Obj) -> Iterator[Outcome]:
    ports = {p["containerPort"] for c in containers(d.pod) for p in c.get("ports", [])}
    for key in ("listen", "admin"):
        port = int(server.data[key].rsplit(":", 1)[1])
        yield f"{server.path} {key}", None if port in ports else f"port {port} is not a port of {d.name}"
    files = [v for k, v in server.data.get("tls", {}).items() if k != "mode"]
    secrets = [server.data.get("adminToken")]
    for connection in server.data.get("connections", {}).values():
        secrets += [value for value in connection.values() if isinstance(value, dict)]
        files += [connection[key] for key in ("ca", "certificate", "key") if key in connection]
    files += [secret["file"] for secret in secrets if isinstance(secret, dict) and "file" in secret]
    mounted = {file for c in containers(d.pod) for file in mounted_files(world, d, c)}
    for file in files:
        yield f"{server.path} {file}", None if file in mounted else f"{file} is not mounted in {d.name}"


def trigger_authentication(world: World) -> Iterator[Outcome]:
    """The keys that a trigger authentication takes are in a Secret of KEDA's namespace."""
    for a in world.all("ClusterTriggerAuthentication"):
        for ref in a.spec.get("secretTargetRef", []):
            known = keys_of(world, "Secret", ref["name"], world.keda) or set()
            problem = f"no Secret {world.keda}/{ref['name']} with the key {ref['key']}"
            problem = None if ref["key"] in known else problem
            yield f"{a} {ref['parameter']}", problem


RULES = (target_exists, one_per_target, no_replicas, name_fits, metadata_is_text, metadata_is_known, bounds_agree,
         errors_do_not_scale_in, jobs_run_to_their_end, small_steps_reach_the_hpa, grace_covers_drain, address_is_ours,
         tenant_may,
         server_file, trigger_authentication)
