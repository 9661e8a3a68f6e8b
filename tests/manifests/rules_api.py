"""Rules about the API in front of the queue: a web service, and where its tasks go."""

from __future__ import annotations

from collections.abc import Iterator

from model import SCALABLE, WORKLOADS, Obj, Outcome, World, containers, environment, looks_at, seconds, subset

SOURCES = {"list": ("redis", "listName"), "stream": ("redis-streams", "stream")}


def autoscaled(world: World) -> Iterator[tuple[Obj, Obj | None]]:
    """Each HorizontalPodAutoscaler with the workload of its folder that it scales."""
    for h in world.all("HorizontalPodAutoscaler"):
        ref = h.spec.get("scaleTargetRef", {})
        yield h, world.find(ref.get("kind", ""), ref.get("name", ""), h.namespace, h.folder)


@looks_at(*SCALABLE)
def autoscaler_can_act(world: World) -> Iterator[Outcome]:
    """Its target exists, leaves the number to it alone, and requests what it counts in parts of."""
    for h, d in autoscaled(world):
        if not d:
            yield str(h), f"its target is not in {h.folder}"
            continue
        wrong = []
        if "replicas" in d.spec:
            wrong.append(f"{d.name} has replicas: each apply would set the number back")
        if any(target.name == d.name and target.namespace == d.namespace for _, target in world.scaled()):
            wrong.append(f"a ScaledObject scales {d.name} too")
        for metric in h.spec.get("metrics", []):
            name = metric.get("resource", {}).get("name")
            if any(name not in c.get("resources", {}).get("requests", {}) for c in containers(d.pod)):
                wrong.append(f"{d.name} requests no {name}")
        yield str(h), "; ".join(wrong) or None


@looks_at(*SCALABLE)
def outlives_a_node(world: World) -> Iterator[Outcome]:
    """What serves callers has two pods or more, on several nodes, and a budget."""
    for h, d in autoscaled(world):
        if not d:
            continue
        low = h.spec.get("minReplicas", 1)
        yield str(h), None if low >= 2 else f"minReplicas is {low}: one lost node is an outage"
        keys = {c.get("topologyKey") for c in d.pod.get("topologySpreadConstraints", [])
                if subset(c.get("labelSelector", {}).get("matchLabels", {}), d.pod_labels)}
        lost = {"kubernetes.io/hostname", "topology.kubernetes.io/zone"} - keys
        yield f"{d} spread", f"is not spread over {', '.join(sorted(lost))}" if lost else None
        for kind, key in (("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")):
            found = any(o.namespace == d.namespace and subset(o.spec.get(key, {}).get("matchLabels", {}), d.pod_labels)
                        for o in world.all(kind))
            yield f"{d} {kind}", None if found else f"has no {kind}"


@looks_at(*SCALABLE)
def ends_without_an_error(world: World) -> Iterator[Outcome]:
    """A pod that goes still serves until the endpoints know, and has time to finish what it has begun."""
    for _, d in autoscaled(world):
        for c in containers(d.pod) if d else []:
            pause = c.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
            yield f"{d} preStop", None if pause else "ends before the endpoints know: preStop does not sleep"
            drain = seconds(environment(d).get("DRAIN", "20s"))
            grace = d.pod.get("terminationGracePeriodSeconds", 30)
            problem = f"grace period {grace} s is not longer than preStop {pause} s and DRAIN {drain:.0f} s"
            yield f"{d} grace", None if grace > pause + drain else problem
            # A Redis that is away must not have the pods restarted.
            probes = {p: c.get(p, {}).get("httpGet", {}).get("path") for p in ("startupProbe", "livenessProbe")}
            wrong = [p for p, path in probes.items() if path != "/livez"]
            yield f"{d} probes", f"{', '.join(wrong)} must ask /livez" if wrong else None


@looks_at(*(kind for kind in WORKLOADS if kind != "ScaledJob"))
def tasks_have_workers(world: World) -> Iterator[Outcome]:
    """The API puts tasks into a queue that workers of its namespace are scaled by, and knows their limit's scope."""
    for d in world.workloads():
        env = environment(d)
        if "QUEUE_KIND" not in env or "LISTEN" not in env:
            continue
        source, key = SOURCES.get(env["QUEUE_KIND"], ("", ""))
        watched = any(s.namespace == d.namespace and t["metadata"].get("source") == source
                      and env.get("QUEUE") in [n.strip() for n in t["metadata"].get(key, "").split(",")]
                      for s, t in world.triggers())
        problem = f"no trigger in {d.namespace} watches the {env['QUEUE_KIND']} {env.get('QUEUE')}"
        yield f"{d} queue", None if watched else problem
        scopes = {limit.get("scope", name) for server in world.servers
                  for name, limit in server.data.get("llmLimits", {}).items()}
        scope = env.get("LIMIT")
        yield f"{d} limit", None if scope in scopes else f"no limit of the scaler's file has the scope {scope}"


RULES = (autoscaler_can_act, outlives_a_node, ends_without_an_error, tasks_have_workers)
