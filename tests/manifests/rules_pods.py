"""Rules between a pod and what stands around it: selectors, ports, mounts, security."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from model import Obj, Outcome, World, containers, subset


def selector_in_template(world: World) -> Iterator[Outcome]:
    """A Deployment selects its own pods. The API server refuses it otherwise, after half of the set is applied."""
    for d in world.all("Deployment"):
        wanted = d.spec.get("selector", {}).get("matchLabels", {})
        yield str(d), None if subset(wanted, d.pod_labels) else f"selector {wanted} is not part of {d.pod_labels}"


def selected_pods_exist(world: World) -> Iterator[Outcome]:
    """Services, budgets and network policies select a Deployment's pods; one that selects nothing does nothing."""
    where = {"Service": "selector", "PodDisruptionBudget": "selector", "NetworkPolicy": "podSelector"}
    for kind, key in where.items():
        for o in world.all(kind):
            labels = o.spec.get(key, {})
            labels = labels if kind == "Service" else labels.get("matchLabels", {})
            yield str(o), None if pods_of(world, o, labels) else f"{key} {labels} matches no Deployment beside it"


def pods_of(world: World, o: Obj, labels: dict) -> list[Obj]:
    return [d for d in world.all("Deployment")
            if (d.folder, d.namespace) == (o.folder, o.namespace) and subset(labels, d.pod_labels)]


def ports_exist(world: World) -> Iterator[Outcome]:
    """Probes, Services and network policies name ports that the pods have."""
    for d in world.all("Deployment"):
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


def mounts_exist(world: World) -> Iterator[Outcome]:
    """Every Secret, ConfigMap and ServiceAccount of a pod is in the set, or external.yaml says who makes it."""
    for d in world.all("Deployment"):
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
            lost = [m["name"] for m in c.get("volumeMounts", []) if m["name"] not in names]
            yield f"{d} mounts", f"volumeMounts without volume: {', '.join(lost)}" if lost else None


def references(d: Obj) -> Iterator[tuple[str, str, set[str]]]:
    """Kind, name and needed keys of all that the pod of `d` takes from elsewhere."""
    if d.pod.get("serviceAccountName"):
        yield "ServiceAccount", d.pod["serviceAccountName"], set()
    for pull in d.pod.get("imagePullSecrets", []):
        yield "Secret", pull["name"], set()
    for volume in d.pod.get("volumes", []):
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
    used = {(kind, name, d.namespace) for d in world.all("Deployment") for kind, name, _ in references(d)}
    used |= {("Deployment", s.spec.get("scaleTargetRef", {}).get("name"), s.namespace)
             for s in world.all("ScaledObject")}
    used |= {("Secret", ref["name"], world.keda) for a in world.all("ClusterTriggerAuthentication")
             for ref in a.spec.get("secretTargetRef", [])}
    for e in world.external:
        key = (e["kind"], e["name"], e["namespace"])
        problem = None if key in used else "no manifest names it"
        yield f"external.yaml: {e['kind']} {e['name']}", problem if e.get("why") else "it does not say why"


def restricted(world: World) -> Iterator[Outcome]:
    """Pods meet Kubernetes' restricted standard, have a read-only root and no key to the cluster."""
    for d in world.all("Deployment"):
        pod = d.pod.get("securityContext", {})
        wrong = [] if pod.get("runAsNonRoot") is True else ["runAsNonRoot"]
        if pod.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            wrong.append("seccompProfile RuntimeDefault")
        if d.pod.get("automountServiceAccountToken") is not False:
            wrong.append("automountServiceAccountToken: false")
        for c in containers(d.pod):
            context = c.get("securityContext", {})
            if context.get("allowPrivilegeEscalation") is not False:
                wrong.append("allowPrivilegeEscalation: false")
            if context.get("readOnlyRootFilesystem") is not True:
                wrong.append("readOnlyRootFilesystem")
            if context.get("capabilities", {}).get("drop") != ["ALL"] or context["capabilities"].get("add"):
                wrong.append("capabilities drop ALL")
            if not c.get("resources", {}).get("limits", {}).get("memory"):
                wrong.append("a memory limit")
        yield str(d), f"lacks {', '.join(wrong)}" if wrong else None


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
         no_old_external_secrets, kustomizations_complete)
