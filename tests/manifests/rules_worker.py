"""Rules between the settings of a scaled worker and the trigger that counts it: both are written by hand."""

from __future__ import annotations

from collections.abc import Iterator

from model import WORKLOADS, Obj, Outcome, World, containers, environment, looks_at, seconds
from rules_keda import SCALED

# For each kind of queue of the reference worker: the source that counts it, and the trigger's keys that are variables.
KINDS = {
    "list": ("redis", {"QUEUE": "listName", "PROCESSING_LIST": "processingListName"}),
    "stream": ("redis-streams", {"QUEUE": "stream", "GROUP": "consumerGroup"}),
    "sqs": ("aws-sqs-queue", {"QUEUE_URL": "queueURL"}),
    "kafka": ("kafka", {"TOPIC": "topic", "GROUP": "consumerGroup"}),
}
# The worker's own, where a manifest does not say.
DEFAULTS = {"QUEUE_KIND": "stream", "GROUP": "workers", "SLOTS": "4", "GRACE": "30m", "TASK_TIMEOUT": "2h"}
# Time to hand back what still runs when GRACE ends.
HAND_BACK = 30


def workers(world: World) -> Iterator[tuple[Obj, dict[str, str], Obj, dict]]:
    """Each scaled workload with its variables, what scales it, and the trigger's keys."""
    for scaled, target in world.scaled():
        env = DEFAULTS | environment(target)
        env.setdefault("PROCESSING_LIST", f"{env.get('QUEUE')}:processing")
        for s, trigger in world.triggers():
            if s is scaled:
                yield target, env, s, trigger.get("metadata", {})


def scopes(world: World) -> dict[str, str]:
    """The scope of each limit in the servers' files."""
    return {name: limit.get("scope", "") for server in world.servers
            for name, limit in (server.data.get("llmLimits") or {}).items()}


@looks_at(*SCALED)
def worker_takes_what_is_counted(world: World) -> Iterator[Outcome]:
    """The worker's queue is the trigger's."""
    for target, env, _, metadata in workers(world):
        source, keys = KINDS.get(env["QUEUE_KIND"], ("", {}))
        wrong = [] if source == metadata.get("source") else [
            f"QUEUE_KIND is {env['QUEUE_KIND']}, the trigger's source {metadata.get('source')}"]
        for variable, key in keys.items() if not wrong else ():
            counted = [name.strip() for name in metadata.get(key, "").split(",")]
            if env.get(variable) not in counted:
                wrong.append(f"{variable} is {env.get(variable)}, {key} of the trigger {metadata.get(key)}")
        yield str(target), "; ".join(wrong) or None


@looks_at(*SCALED)
def worker_has_the_slots(world: World) -> Iterator[Outcome]:
    """A worker runs as many tasks as the trigger believes; a Job runs one and ends."""
    for target, env, scaled, metadata in workers(world):
        said = metadata.get("tasksPerReplica", "1")
        yield f"{target} slots", None if env["SLOTS"] == said else f"SLOTS is {env['SLOTS']}, tasksPerReplica {said}"
        once = env.get("ONCE", "false")
        right = once == str(scaled.kind == "ScaledJob").lower()
        yield f"{target} once", None if right else f"ONCE is {once} in a {scaled.kind}"


@looks_at(*SCALED)
def worker_drains_as_long_as_said(world: World) -> Iterator[Outcome]:
    """The worker finishes tasks for as long as the trigger says that it does."""
    for target, env, _, metadata in workers(world):
        said, grace = metadata.get("drainTime"), env["GRACE"]
        wrong = said is not None and seconds(said) != seconds(grace)
        yield str(target), f"GRACE is {grace}, drainTime of the trigger {said}" if wrong else None


@looks_at(*WORKLOADS)
def pod_outlives_its_worker(world: World) -> Iterator[Outcome]:
    """The kubelet waits for a worker to hand back what it has not finished."""
    for d in world.workloads():
        variables = environment(d)
        if "GRACE" not in variables and "SLOTS" not in variables:
            continue
        grace = seconds((DEFAULTS | variables)["GRACE"])
        pod = d.pod.get("terminationGracePeriodSeconds", 30)
        problem = f"the pod has {pod} s, GRACE and {HAND_BACK} s to hand back are {grace + HAND_BACK:.0f} s"
        yield str(d), None if pod >= grace + HAND_BACK else problem


@looks_at("ScaledJob", "Job", "CronJob")
def jobs_have_time(world: World) -> Iterator[Outcome]:
    """A Job is not ended before its task may be."""
    for d in world.workloads(("ScaledJob", "Job", "CronJob")):
        variables = environment(d)
        if "SLOTS" not in variables:
            continue
        template = {"ScaledJob": d.spec.get("jobTargetRef", {}), "Job": d.spec}.get(
            d.kind, d.spec.get("jobTemplate", {}).get("spec", {}))
        deadline, timeout = template.get("activeDeadlineSeconds"), seconds((DEFAULTS | variables)["TASK_TIMEOUT"])
        problem = f"activeDeadlineSeconds {deadline} is less than TASK_TIMEOUT {timeout:.0f} s"
        yield str(d), problem if deadline is not None and deadline < timeout else None


@looks_at(*WORKLOADS)
def limits_are_known(world: World) -> Iterator[Outcome]:
    """A pod that names a limit names the scope of one that the scaler knows."""
    for d in world.workloads():
        scope = environment(d).get("LIMIT")
        if scope:
            problem = f"no limit of the scaler's file has the scope {scope}"
            yield str(d), None if scope in scopes(world).values() else problem


@looks_at(*SCALED)
def worker_shares_the_limit(world: World) -> Iterator[Outcome]:
    """The limit that the trigger is held to is the one that the worker reports on."""
    for target, env, _, metadata in workers(world):
        limit, scope = metadata.get("llmLimit"), env.get("LIMIT")
        wanted = scopes(world).get(limit) if limit else None
        problem = f"LIMIT is {scope}, the scope of the trigger's llmLimit {wanted}"
        yield str(target), None if scope == wanted else problem
        reports = "workersConnection" in metadata or limit
        yield f"{target} reports", None if reports or not scope else "LIMIT is set, but the trigger reads no reports"


@looks_at(*SCALED)
def worker_can_ask_its_model(world: World) -> Iterator[Outcome]:
    """The worker has a model and a key; whether the file is there, another rule says."""
    for target, env, _, _ in workers(world):
        lost = [name for name in ("MODEL", "API_KEY_FILE", "REDIS_URL") if not env.get(name)]
        yield str(target), f"lacks {', '.join(lost)}" if lost else None
        ports = {p["containerPort"] for c in containers(target.pod) for p in c.get("ports", [])}
        port = int(env.get("LISTEN", "0.0.0.0:8080").rsplit(":", 1)[1])
        yield f"{target} port", None if port in ports else f"it listens on {port}, which is no port of the pod"


RULES = (worker_takes_what_is_counted, worker_has_the_slots, worker_drains_as_long_as_said, pod_outlives_its_worker,
         jobs_have_time, limits_are_known, worker_shares_the_limit, worker_can_ask_its_model)
