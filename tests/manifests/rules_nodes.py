"""Rules between a node pool and the workers that land on it."""

from __future__ import annotations

from collections.abc import Iterator

from model import WORKLOADS, Obj, Outcome, World, containers, looks_at, quantity, seconds

POOL = "karpenter.sh/nodepool"
GPU = "nvidia.com/gpu"
# Nodes with a GPU take minutes: a shorter start-up budget restarts a model that still loads, and a shorter cool-down
# pays for the start again after each pause.
GPU_BUDGET = 15 * 60


def on_pools(world: World) -> Iterator[tuple[Obj, Obj | None]]:
    """Each workload that asks for a pool, with the pool."""
    for d in world.workloads():
        name = d.pod.get("nodeSelector", {}).get(POOL)
        if name:
            yield d, world.find("NodePool", name, folder=d.folder)


def template(pool: Obj) -> dict:
    """The spec of the pool's nodes."""
    return pool.spec.get("template", {}).get("spec", {})


@looks_at(*WORKLOADS)
def pool_exists(world: World) -> Iterator[Outcome]:
    """The pool that a worker asks for lies beside it, and each pool has a worker and a node class."""
    used = set()
    for d, pool in on_pools(world):
        used.add(pool.name if pool else "")
        yield str(d), None if pool else f"pool {d.pod['nodeSelector'][POOL]} is not in {d.folder}"
    for pool in world.all("NodePool"):
        ref = template(pool).get("nodeClassRef", {})
        yield f"{pool} worker", None if pool.name in used else "no worker asks for it"
        found = world.find(ref.get("kind", ""), ref.get("name", ""), folder=pool.folder)
        fits = found and found.api.split("/")[0] == ref.get("group")
        yield f"{pool} class", None if fits else f"node class {ref.get('name')} is not in {pool.folder}"


@looks_at(*WORKLOADS)
def pool_is_bounded(world: World) -> Iterator[Outcome]:
    """A pool has a spending limit, and the limit admits the workers' highest number."""
    highest = {(d.kind, d.name): s.spec.get("maxReplicaCount", 100) for s, d in world.scaled()}
    for d, pool in on_pools(world):
        limits = pool.spec.get("limits", {}) if pool else {}
        if not limits:
            yield f"{d} limits", "the pool has no limits: nothing bounds its cost"
        for resource in sorted(set(limits) & set(requests(d))):
            need = requests(d)[resource] * highest.get((d.kind, d.name), d.spec.get("replicas", 1))
            fits = need <= quantity(limits[resource])
            problem = f"maxReplicaCount needs {need:g}, the pool allows {limits[resource]}"
            yield f"{d} {resource}", None if fits else problem


def requests(d: Obj) -> dict[str, float]:
    total: dict[str, float] = {}
    for c in containers(d.pod):
        for resource, value in c.get("resources", {}).get("requests", {}).items():
            total[resource] = total.get(resource, 0) + quantity(value)
    return total


@looks_at(*WORKLOADS)
def pool_waits_for_pods(world: World) -> Iterator[Outcome]:
    """A node outlives its pods: Karpenter's own period outranks theirs, and without one a node may stay for ever."""
    for d, pool in on_pools(world):
        period = template(pool).get("terminationGracePeriod") if pool else None
        grace = d.pod.get("terminationGracePeriodSeconds", 30)
        if period is None:
            problem = "the pool has no terminationGracePeriod"
        else:
            problem = None if seconds(period) >= grace else f"the pool waits {period}, the worker needs {grace} s"
        yield str(d), problem


@looks_at(*WORKLOADS)
def taints_tolerated(world: World) -> Iterator[Outcome]:
    """The pool has a taint that keeps others off, and its worker tolerates each."""
    for d, pool in on_pools(world):
        taints = template(pool).get("taints", []) if pool else []
        if not taints:
            yield str(d), "the pool has no taint: any pod may land on it"
        for taint in taints:
            ok = any(tolerates(t, taint) for t in d.pod.get("tolerations", []))
            yield f"{d} {taint['key']}", None if ok else f"does not tolerate {taint['key']}={taint.get('value', '')}"


def tolerates(toleration: dict, taint: dict) -> bool:
    """Kubernetes' own rule: an absent key or effect matches all, `Exists` matches every value."""
    if toleration.get("effect", taint["effect"]) != taint["effect"]:
        return False
    if "key" not in toleration:
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint["key"]:
        return False
    return toleration.get("operator") == "Exists" or toleration.get("value", "") == taint.get("value", "")


@looks_at("Deployment", "StatefulSet", "ScaledJob")
def start_fits(world: World) -> Iterator[Outcome]:
    """A trigger on a pool says how long a node takes; a GPU worker has time to start and to stay."""
    for s, d in world.scaled():
        if POOL not in d.pod.get("nodeSelector", {}):
            continue
        said = s.spec["triggers"][0]["metadata"].get("nodeStartupTime")
        yield f"{s} nodeStartupTime", None if said else "new pods need new nodes, but nodeStartupTime is not set"
        if GPU in requests(d):
            cooldown = s.spec.get("cooldownPeriod", 300)
            if s.kind == "ScaledObject":
                yield f"{s} cooldown", None if cooldown >= GPU_BUDGET else f"cooldownPeriod {cooldown} is less than 900"
            budget = min(startup_budget(c) for c in containers(d.pod))
            problem = f"startupProbe gives up after {budget} s, before 900"
            yield f"{d} startup", None if budget >= GPU_BUDGET else problem
            if d.kind == "Deployment":
                deadline = d.spec.get("progressDeadlineSeconds", 600)
                problem = f"progressDeadlineSeconds {deadline} is less than {budget}"
                yield f"{d} progress", None if deadline >= budget else problem


def startup_budget(container: dict) -> int:
    probe = container.get("startupProbe", {})
    return probe.get("periodSeconds", 10) * probe.get("failureThreshold", 3) if probe else 0


@looks_at("Deployment", "StatefulSet", "ScaledJob")
def long_work_is_protected(world: World) -> Iterator[Outcome]:
    """Autoscalers of nodes leave a scaled worker alone while it runs."""
    wanted = {"karpenter.sh/do-not-disrupt": "true", "cluster-autoscaler.kubernetes.io/safe-to-evict": "false"}
    for _, d in world.scaled():
        notes = d.template.get("metadata", {}).get("annotations", {})
        lost = [k for k, v in wanted.items() if notes.get(k) != v]
        yield str(d), f"lacks {', '.join(lost)}" if lost else None


RULES = (pool_exists, pool_is_bounded, pool_waits_for_pods, taints_tolerated, start_fits, long_work_is_protected)
