"""Rules between a pod and what stands around it: selectors, ports, mounts, security."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from model import SELECTING, WORKLOADS, Obj, Outcome, World, containers, looks_at, subset


@looks_at(*SELECTING)
def selector_in_template(world: World) -> Iterator[Outcome]:
    """A workload selects its own pods. The API server refuses it otherwise, after half of the set is applied."""
    for d in world.workloads(SELECTING):
        wanted = d.spec.get("selector", {}).get("matchLabels", {})
        yield str(d), None if subset(wanted, d.pod_labels) else f"selector {wanted} is not part of {d.pod_labels}"


def selected_pods_exist(world: World) -> Iterator[Outcome]:
    """Services, budgets and network policies select a workload's pods; one that selects nothing does nothing."""
    where = {"Service": "selector", "PodDisruptionBudget": "selector", "NetworkPolicy": "podSelector"}
    for kind, key in where.items():
        for o in world.all(kind):
            labels = o.spec.get(key, {})
            labels = labels if kind == "Service" else labels.get("matchLabels", {})
            yield str(o), None if pods_of(world, o, labels) else f"{key} {labels} matches no pods beside it"


def pods_of(world: World, o: Obj, labels: dict) -> list[Obj]:
    return [d for d in world.workloads()
            if (d.folder, d.namespace) == (o.folder, o.namespace) and subset(labels, d.pod_labels)]


@looks_at(*WORKLOADS)
def ports_exist(world: World) -> Iterator[Outcome]:
    """Probes, Services and network policies name ports that the pods have."""
    for d in world.workloads():
        for c in containers(d.pod):
            ports = port_names(c)
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                port = c.get(probe, {}).get("httpGet", {}).get("port")
                if port is not None:
                    problem = f"port {port!r} is not one of {sorted(map(str, ports))}"
                    yield f"{d} {probe}", None if port in ports else problem
    for s in world.all("Service"):
        for port in s.spec.get("ports", []):
            yield from port_outcome(world, s, s.spec.get("selector", {}), port.get("targetPort", port["port"]))
    for n in world.all("NetworkPolicy"):
        for rule in n.spec.get("ingress", []):
            for port in rule.get("ports", []):
                yield from port_outcome(world, n, n.spec["podSelector"].get("matchLabels", {}), port["port"])


def port_names(container: dict) -> set:
    ports = container.get("ports", [])
    return {p.get("name") for p in ports} | {p["containerPort"] for p in ports}


def port_outcome(world: World, o: Obj, labels: dict, port: str | int) -> Iterator[Outcome]:
    for d in pods_of(world, o, labels):
        known = set().union(*(port_names(c) for c in containers(d.pod)))
        yield f"{o} port {port}", None if port in known else f"port {port!r} is not a port of {d.name}"


@looks_at(*WORKLOADS)
def mounts_exist(world: World) -> Iterator[Outcome]:
    """Every Secret, ConfigMap and ServiceAccount of a pod is in the set, or external.yaml says who makes it."""
    for d in world.workloads():
        for kind, name, keys in references(d):
            known = keys_of(world, kind, name, d.namespace)
            if known is None:
                problem = f"{kind} {name} is neither in namespace {d.namespace} of the set nor in external.yaml"
            elif keys - known:
                problem = f"{kind} {name} has no key {', '.join(sorted(keys - known))}"
            else:
                problem = None
            yield f"{d} → {kind} {name}", problem
        for c in containers(d.pod):
            names = {v["name"] for v in d.pod.get("volumes", [])}
            names |= {claim["metadata"]["name"] for claim in d.spec.get("volumeClaimTemplates", [])}
            lost = [m["name"] for m in c.get("volumeMounts", []) if m["name"] not in names]
            yield f"{d} mounts", f"volumeMounts without volume: {', '.join(lost)}" if lost else None


def references(d: Obj) -> Iterator[tuple[str, str, set[str]]]:
    """Kind, name and needed keys of all that the pod of `d` takes from elsewhere."""
    if d.pod.get("serviceAccountName"):
        yield "ServiceAccount", d.pod["serviceAccountName"], set()
    for pull in d.pod.get("imagePullSecrets", []):
        yield "Secret", pull["name"], set()
    for volume in d.pod.get("volumes", []):
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"], set()
        for kind, name, items in sources(volume):
            yield kind, name, {i["key"] for i in items}
    for c in containers(d.pod):
        for source in c.get("envFrom", []):
            for key, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
                if key in source:
                    yield kind, source[key]["name"], set()
        for variable in c.get("env", []):
            for key, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
                ref = variable.get("valueFrom", {}).get(key)
                if ref:
                    yield kind, ref["name"], {ref["key"]}


def sources(volume: dict) -> Iterator[tuple[str, str, list[dict]]]:
    """Kind, name and items of the objects that a volume shows, also of a projected one."""
    for part in [volume, *volume.get("projected", {}).get("sources", [])]:
        for key, kind in (("secret", "Secret"), ("configMap", "ConfigMap")):
            if key in part:
                yield kind, part[key].get("secretName") or part[key]["name"], part[key].get("items", [])


def keys_of(world: World, kind: str, name: str, namespace: str) -> set[str] | None:
    """The keys that an object holds; None where there is no such object."""
    found = world.find(kind, name, namespace)
    if found:
        return set(found.data.get("data", {})) | set(found.data.get("stringData", {}))
    for k in world.kustomizations:
        for generator in k.data.get("configMapGenerator", []):
            if (kind, name, namespace) == ("ConfigMap", generator["name"], k.data.get("namespace")):
                return {PurePosixPath(f.split("=")[0]).name for f in generator.get("files", [])}
    entry = world.listed(kind, name, namespace)
    return set(entry.get("keys", [])) if entry else None


def external_is_used(world: World) -> Iterator[Outcome]:
    """external.yaml holds nothing that no manifest names: such an entry would hide a later mistake."""
    used = {(kind, name, d.namespace) for d in world.workloads() for kind, name, _ in references(d)}
    used |= {(ref.get("kind", "Deployment"), ref.get("name"), s.namespace)
             for s in world.all("ScaledObject") for ref in [s.spec.get("scaleTargetRef", {})]}
    used |= {("Secret", ref["name"], world.keda) for a in world.all("ClusterTriggerAuthentication")
             for ref in a.spec.get("secretTargetRef", [])}
    for e in world.external:
        key = (e["kind"], e["name"], e["namespace"])
        problem = None if key in used else "no manifest names it"
        yield f"external.yaml: {e['kind']} {e['name']}", problem if e.get("why") else "it does not say why"


@looks_at(*WORKLOADS)
def restricted(world: World) -> Iterator[Outcome]:
    """Pods meet Kubernetes' restricted standard, have a read-only root and no key to the cluster."""
    for d in world.workloads():
        pod = d.pod.get("securityContext", {})
        wrong = [] if pod.get("runAsNonRoot") is True else ["runAsNonRoot"]
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            wrong.append("seccompProfile RuntimeDefault")
        if d.pod.get("automountServiceAccountToken") is not False:
            wrong.append("automountServiceAccountToken: false")
        wrong += [f"no {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if d.pod.get(key)]
        wrong += [f"no hostPath ({v['name']})" for v in d.pod.get("volumes", []) if "hostPath" in v]
        for c in containers(d.pod):
            wrong += unrestricted(c, pod)
        yield str(d), f"lacks {', '.join(wrong)}" if wrong else None


def unrestricted(container: dict, pod: dict) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("privileged"):
        yield "privileged: false"
    if context.get("allowPrivilegeEscalation") is not False:
        yield "allowPrivilegeEscalation: false"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "readOnlyRootFilesystem"
    if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
        yield "capabilities drop ALL"
    if 0 in (context.get("runAsUser"), pod.get("runAsUser")) or context.get("runAsNonRoot") is False:
        yield "a user that is not root"
    if any("hostPort" in port for port in container.get("ports", [])):
        yield "no hostPort"
    resources = container.get("resources", {})
    if not resources.get("limits", {}).get("memory"):
        yield "a memory limit"
    lost = [name for name in ("cpu", "memory") if name not in resources.get("requests", {})]
    if lost:
        yield f"requests of {' and '.join(lost)}"


@looks_at(*SELECTING, "ScaledJob")
def probes_exist(world: World) -> Iterator[Outcome]:
    """A hung process is ended, and one that is not ready yet takes no old one's place. Nobody waits for a Job's pod."""
    for d in world.workloads((*SELECTING, "ScaledJob")):
        wanted = ["livenessProbe"] + ([] if d.kind == "ScaledJob" else ["readinessProbe"])
        for c in d.pod.get("containers", []):
            lost = [probe for probe in wanted if probe not in c]
            yield f"{d} {c['name']} probes", f"lacks {', '.join(lost)}" if lost else None


@looks_at("ScaledJob", "Job", "CronJob")
def jobs_can_be_made(world: World) -> Iterator[Outcome]:
    """A Job is what the API server takes. Of a ScaledJob it sees that only when there is a task."""
    for d in world.workloads(("ScaledJob", "Job", "CronJob")):
        job = {"ScaledJob": d.spec.get("jobTargetRef", {}), "Job": d.spec}.get(
            d.kind, d.spec.get("jobTemplate", {}).get("spec", {}))
        wrong, restart = [], d.pod.get("restartPolicy", "Always")
        rules = job.get("podFailurePolicy", {}).get("rules", [])
        if restart not in ("Never", "OnFailure") or rules and restart != "Never":
            wrong.append(f"restartPolicy must be Never, and is {restart}")
        names = {c["name"] for c in containers(d.pod)}
        named = {r["onExitCodes"]["containerName"] for r in rules if "containerName" in r.get("onExitCodes", {})}
        if named - names:
            wrong.append(f"podFailurePolicy names the container {', '.join(sorted(named - names))}")
        yield str(d), "; ".join(wrong) or None


@looks_at(*WORKLOADS)
def variables_stand_once(world: World) -> Iterator[Outcome]:
    """Of two variables of one name the last holds, whichever one reads."""
    for d in world.workloads():
        for c in containers(d.pod):
            names = [v["name"] for v in c.get("env", [])]
            twice = sorted({name for name in names if names.count(name) > 1})
            yield f"{d} {c['name']} env", f"sets {', '.join(twice)} twice" if twice else None


def nodes_can_be_drained(world: World) -> Iterator[Outcome]:
    """A budget lets one pod go at a time, or a node can never be emptied."""
    for b in world.all("PodDisruptionBudget"):
        most, least = b.spec.get("maxUnavailable"), b.spec.get("minAvailable")
        stuck = most in (0, "0%") or least == "100%" or (most, least) == (None, None)
        yield str(b), "lets no pod go: no node can be drained" if stuck else None


@looks_at(*WORKLOADS)
def images_are_pinned(world: World) -> Iterator[Outcome]:
    """An image has a tag that says its version, or a digest: what runs tomorrow is what was tested."""
    for d in world.workloads():
        for c in containers(d.pod):
            name, _, digest = c.get("image", "").partition("@")
            tag = name.rsplit("/", 1)[-1].partition(":")[2]
            problem = None if digest or tag not in ("", "latest") else f"image {name} has no version"
            yield f"{d} {c['name']}", problem


@looks_at(*WORKLOADS)
def secrets_are_files(world: World) -> Iterator[Outcome]:
    """No secret in a variable: it never changes in a running process, and every child and every dump has it."""
    for d in world.workloads():
        for c in containers(d.pod):
            wrong = [f"takes all of Secret {source['secretRef'].get('name')}" for source in c.get("envFrom", [])
                     if "secretRef" in source]
            for variable in c.get("env", []):
                name, value = variable["name"], str(variable.get("value", ""))
                if "secretKeyRef" in variable.get("valueFrom", {}):
                    wrong.append(f"{name} comes from a Secret")
                elif value and re.search(r"(PASSWORD|TOKEN|SECRET|KEY|CREDENTIALS?)$", name):
                    wrong.append(f"{name} holds a secret")
                elif re.search(r"://[^/?#@]*:[^/?#@]*@|\bsk-[A-Za-z0-9]", value):
                    wrong.append(f"{name} holds credentials")
            yield f"{d} {c['name']}", f"{'; '.join(wrong)}: mount it as a file" if wrong else None


@looks_at(*WORKLOADS)
def files_are_mounted(world: World) -> Iterator[Outcome]:
    """Every path that a container is told lies in what is mounted there."""
    for d in world.workloads():
        for c in containers(d.pod):
            told = {v["name"]: v["value"] for v in c.get("env", []) if str(v.get("value", "")).startswith("/")}
            told |= {arg: arg for arg in c.get("args", []) if str(arg).startswith("/")}
            mounted = set(mounted_files(world, d, c))
            lost = [f"{name}: {path} is not mounted" for name, path in told.items() if path not in mounted]
            yield f"{d} {c['name']} files", "; ".join(lost) or None


def mounted_files(world: World, d: Obj, container: dict) -> Iterator[str]:
    """The files that a container finds at its mounts."""
    volumes = {v["name"]: v for v in d.pod.get("volumes", [])}
    for mount in container.get("volumeMounts", []):
        for kind, name, items in sources(volumes.get(mount["name"], {})):
            found = keys_of(world, kind, name, d.namespace) or set()
            for path in [i["path"] for i in items] or found:
                yield f"{mount['mountPath']}/{path}"


def network_is_bounded(world: World) -> Iterator[Outcome]:
    """A policy says who comes in and where the pods may go, and opens neither to everybody."""
    for n in world.all("NetworkPolicy"):
        said = n.spec.get("policyTypes", [])
        wrong = [f"says nothing of {side}" for side in ("Ingress", "Egress") if side not in said]
        for side, key in (("ingress", "from"), ("egress", "to")):
            for rule in n.spec.get(side) or []:
                peers = rule.get(key) or []
                wrong += [] if peers else [f"an {side} rule is for everybody"]
                wrong += [f"{side}: {p['ipBlock']['cidr']} without exceptions is open to everybody" for p in peers
                          if p.get("ipBlock") and not p["ipBlock"].get("except")
                          and ipaddress.ip_network(p["ipBlock"]["cidr"], strict=False).prefixlen < 8]
                wrong += [f"an {side} rule is for every namespace" for p in peers if p.get("namespaceSelector") == {}]
        yield str(n), "; ".join(wrong) or None


def no_old_external_secrets(world: World) -> Iterator[Outcome]:
    """External Secrets' v1beta1 is no longer served. The text is searched, so that comments teach nothing wrong."""
    for path, text in world.texts.items():
        yield path, "names external-secrets.io/v1beta1" if "external-secrets.io/v1beta1" in text else None


def kustomizations_complete(world: World) -> Iterator[Outcome]:
    """A kustomization lists what lies beside it and nothing else. Examples with placeholders stay out on purpose."""
    for k in world.kustomizations:
        beside = {PurePosixPath(p).name for p in world.texts if str(PurePosixPath(p).parent) == k.folder}
        generated = {f for g in k.data.get("configMapGenerator", []) for f in g.get("files", [])}
        expected = {n for n in beside if not n.endswith(".example.yaml")} - generated - {"kustomization.yaml"}
        listed = set(k.data.get("resources", []))
        lost = ", ".join(sorted((expected ^ listed) | (generated - beside)))
        yield k.path, f"resources and files differ: {lost}" if lost else None


RULES = (selector_in_template, selected_pods_exist, ports_exist, mounts_exist, external_is_used, restricted,
         probes_exist, jobs_can_be_made, variables_stand_once, nodes_can_be_drained, images_are_pinned,
         secrets_are_files, files_are_mounted, network_is_bounded, no_old_external_secrets,
         kustomizations_complete)
