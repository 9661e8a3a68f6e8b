"""One workload as each kind that there is: the self-test plants a fault of a pod in all of them."""

from __future__ import annotations

from model import SCALABLE, Obj, World


def convert(w: World, name: str, kind: str) -> tuple[Obj | None, Obj]:
    """The Deployment `name` as a workload of another kind, and what scales it: the same pods at the same place."""
    d = w.find("Deployment", name)
    scaler = next((s for s in w.all("ScaledObject") if s.spec["scaleTargetRef"]["name"] == name), None)
    if kind == "ScaledJob" and not scaler:
        raise LookupError(f"nothing scales {name}: it cannot be a ScaledJob")
    meta, spec, template = d.data["metadata"], d.spec, d.template
    if kind in ("Job", "CronJob", "ScaledJob"):
        template["spec"]["restartPolicy"] = "Never"
    selector = {"selector": spec["selector"], "template": template}
    match kind:
        case "Deployment":
            pass
        case "StatefulSet":
            become(d, "apps/v1", kind, meta, {"serviceName": name} | selector)
        case "DaemonSet" | "ReplicaSet":
            become(d, "apps/v1", kind, meta, selector)
        case "Job":
            become(d, "batch/v1", kind, meta, {"template": template})
        case "CronJob":
            nightly = {"schedule": "0 2 * * *", "jobTemplate": {"spec": {"template": template}}}
            become(d, "batch/v1", kind, meta, nightly)
        case "Pod":
            become(d, "v1", kind, meta | template["metadata"], template["spec"])
        case "ScaledJob":
            become(d, "keda.sh/v1alpha1", kind, meta, job(scaler, d, template))
    for h in w.all("HorizontalPodAutoscaler"):
        if h.spec["scaleTargetRef"]["name"] == name:
            h.spec["scaleTargetRef"]["kind"] = kind
    if scaler and kind in SCALABLE:
        scaler.spec["scaleTargetRef"]["kind"] = kind
        return scaler, d
    if scaler:
        w.objects.remove(scaler)
    return (d if kind == "ScaledJob" else None), d


def become(d: Obj, api: str, kind: str, meta: dict, spec: dict) -> None:
    d.data = {"apiVersion": api, "kind": kind, "metadata": meta, "spec": spec}


def job(scaler: Obj, d: Obj, template: dict) -> dict:
    """The ScaledJob of these pods: one task each."""
    trigger = scaler.spec["triggers"][0]
    metadata = trigger["metadata"] | {"workload": "job", "tasksPerReplica": "1"}
    for container in d.pod["containers"]:
        kept = [v for v in container.get("env", []) if v["name"] not in ("SLOTS", "ONCE")]
        container["env"] = [*kept, {"name": "SLOTS", "value": "1"}, {"name": "ONCE", "value": "true"}]
    bounds = {key: scaler.spec[key] for key in ("pollingInterval", "minReplicaCount", "maxReplicaCount")}
    return bounds | {"rollout": {"strategy": "gradual"}, "jobTargetRef": {"template": template},
                     "triggers": [{"type": "external", "metadata": metadata}]}
