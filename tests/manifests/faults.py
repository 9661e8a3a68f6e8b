"""The mistakes that the self-test plants: each must be found by its rule, in every kind of object that it looks at."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from model import SCALABLE, WORKLOADS, Obj, World
from rules_keda import SCALED


class Fault(NamedTuple):
    rule: str
    says: str                          # part of the message that must come
    # Changes the world; with `kinds`, also what scales `base` (None: nothing), and `base` itself as each of them.
    plant: Callable[..., object]
    kinds: tuple[str, ...] = ()
    base: str = "agent-worker"


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


def pool(w: World) -> dict:
    return get(w, "NodePool", "agents-gpu")["spec"]


def autoscaler(w: World) -> dict:
    return get(w, "HorizontalPodAutoscaler", "agent-api")["spec"]


def policy(w: World) -> dict:
    return get(w, "NetworkPolicy", "agent-api")["spec"]


def behaviour(s: Obj) -> dict:
    return s.spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]


def first(d: Obj) -> dict:
    """The first container."""
    return d.pod["containers"][0]


def trigger(s: Obj) -> dict:
    return s.spec["triggers"][0]


def keys(s: Obj) -> dict:
    return trigger(s)["metadata"]


def sets(d: Obj, **values: str) -> None:
    """Sets variables of the first container."""
    kept = [v for v in first(d)["env"] if v["name"] not in values]
    first(d)["env"] = kept + [{"name": name, "value": value} for name, value in values.items()]


def forgets(d: Obj, name: str) -> None:
    first(d)["env"] = [v for v in first(d)["env"] if v["name"] != name]


def volume(d: Obj, name: str) -> dict:
    return next(v for v in d.pod["volumes"] if v["name"] == name)


def fails(d: Obj, container: str) -> None:
    """A Job's policy about the exit codes of this container."""
    job = {"ScaledJob": lambda: d.spec["jobTargetRef"], "Job": lambda: d.spec,
           "CronJob": lambda: d.spec["jobTemplate"]["spec"]}[d.kind]()
    codes = {"containerName": container, "operator": "In", "values": [2]}
    job["podFailurePolicy"] = {"rules": [{"action": "FailJob", "onExitCodes": codes}]}


def workloads(rule: str, says: str, plant: Callable, base: str = "agent-worker", kinds: tuple = WORKLOADS) -> Fault:
    """A fault of a pod, in a workload of each kind."""
    return Fault(rule, says, lambda _w, _s, d: plant(d), kinds, base)


def scalers(rule: str, says: str, plant: Callable, base: str = "agent-worker", kinds: tuple = SCALED) -> Fault:
    """A fault between a workload and what scales it, in each kind of either."""
    return Fault(rule, says, lambda _w, s, d: plant(s, d), kinds, base)


SELECTING = ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet")
POD_FAULTS = (
    workloads("selector_in_template", "is not part of",
              lambda d: d.template["metadata"]["labels"].update({"app.kubernetes.io/name": "other"}), kinds=SELECTING),
    Fault("selected_pods_exist", "matches no pods",
          lambda w: get(w, "PodDisruptionBudget", "agent-worker")["spec"]["selector"]["matchLabels"].update(x="y")),
    Fault("selected_pods_exist", "matches no pods",
          lambda w: get(w, "Service", "agent-scaler")["spec"].update(selector={"x": "y"})),
    Fault("selected_pods_exist", "matches no pods",
          lambda w: get(w, "NetworkPolicy", "agent-scaler")["spec"].update(podSelector={"matchLabels": {"x": "y"}})),
    workloads("ports_exist", "port 'gone' is not one of",
              lambda d: first(d)["livenessProbe"]["httpGet"].update(port="gone")),
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
    Fault("mounts_exist", "Secret agent-worker-llm is neither", lambda w, _s, _d: drop(w, "Secret", "agent-worker-llm"),
          WORKLOADS),
    workloads("mounts_exist", "Secret gone is neither", lambda d: volume(d, "llm")["secret"].update(secretName="gone")),
    workloads("mounts_exist", "has no key url", lambda d: first(d)["env"].append(
        {"name": "X", "valueFrom": {"secretKeyRef": {"name": "agent-worker-redis", "key": "url"}}})),
    workloads("mounts_exist", "PersistentVolumeClaim gone is neither",
              lambda d: d.pod["volumes"].append({"name": "x", "persistentVolumeClaim": {"claimName": "gone"}})),
    workloads("mounts_exist", "volumeMounts without volume", lambda d: d.pod.update(volumes=[])),
    Fault("external_is_used", "no manifest names it", lambda w: w.external[0].update(name="unused")),
    Fault("external_is_used", "does not say why", lambda w: w.external[0].pop("why")),
    workloads("restricted", "lacks runAsNonRoot", lambda d: d.pod["securityContext"].pop("runAsNonRoot")),
    workloads("restricted", "capabilities drop ALL", lambda d: first(d)["securityContext"].update(
        capabilities={"drop": ["ALL"], "add": ["SYS_ADMIN"]})),
    workloads("restricted", "readOnlyRootFilesystem",
              lambda d: first(d)["securityContext"].update(readOnlyRootFilesystem=False)),
    workloads("restricted", "allowPrivilegeEscalation",
              lambda d: first(d)["securityContext"].pop("allowPrivilegeEscalation")),
    workloads("restricted", "privileged: false", lambda d: first(d)["securityContext"].update(privileged=True)),
    workloads("restricted", "a user that is not root", lambda d: first(d)["securityContext"].update(runAsUser=0)),
    workloads("restricted", "a user that is not root", lambda d: d.pod["securityContext"].update(runAsUser=0)),
    workloads("restricted", "no hostNetwork", lambda d: d.pod.update(hostNetwork=True)),
    workloads("restricted", "no hostPath",
              lambda d: d.pod["volumes"].append({"name": "x", "hostPath": {"path": "/"}})),
    workloads("restricted", "no hostPort", lambda d: first(d)["ports"][0].update(hostPort=8080)),
    workloads("restricted", "automountServiceAccountToken", lambda d: d.pod.pop("automountServiceAccountToken")),
    workloads("restricted", "seccompProfile", lambda d: d.pod["securityContext"].pop("seccompProfile")),
    workloads("restricted", "memory limit", lambda d: first(d)["resources"].pop("limits")),
    workloads("restricted", "lacks", lambda d: d.pod.update(initContainers=[{"name": "x", "image": "x:1"}])),
    workloads("restricted", "requests of cpu and memory", lambda d: first(d)["resources"].pop("requests")),
    workloads("probes_exist", "lacks livenessProbe", lambda d: first(d).pop("livenessProbe"),
              kinds=(*SELECTING, "ScaledJob")),
    workloads("probes_exist", "lacks readinessProbe", lambda d: first(d).pop("readinessProbe"), kinds=SELECTING),
    *(workloads("jobs_can_be_made", says, plant, kinds=("ScaledJob", "Job", "CronJob")) for says, plant in (
        ("and is Always", lambda d: d.pod.pop("restartPolicy")),
        ("and is OnFailure", lambda d: (d.pod.update(restartPolicy="OnFailure"), fails(d, "worker"))),
        ("names the container gone", lambda d: fails(d, "gone")))),
    workloads("variables_stand_once", "sets MODEL twice",
              lambda d: first(d)["env"].append({"name": "MODEL", "value": "other"})),
    Fault("nodes_can_be_drained", "lets no pod go",
          lambda w: get(w, "PodDisruptionBudget", "agent-worker")["spec"].update(maxUnavailable=0)),
    Fault("nodes_can_be_drained", "lets no pod go", lambda w: get(w, "PodDisruptionBudget", "agent-api")["spec"].update(
        maxUnavailable=None, minAvailable="100%")),
    workloads("images_are_pinned", "has no version", lambda d: first(d).update(image="ghcr.io/example/worker:latest")),
    workloads("images_are_pinned", "has no version", lambda d: first(d).update(image="registry:5000/worker")),
    workloads("secrets_are_files", "X comes from a Secret", lambda d: first(d)["env"].append(
        {"name": "X", "valueFrom": {"secretKeyRef": {"name": "agent-worker-llm", "key": "api-key"}}})),
    workloads("secrets_are_files", "takes all of Secret", lambda d: first(d).update(
        envFrom=[{"secretRef": {"name": "agent-worker-llm"}}])),
    workloads("secrets_are_files", "OPENAI_API_KEY holds a secret", lambda d: sets(d, OPENAI_API_KEY="x")),
    workloads("secrets_are_files", "REDIS_URL holds credentials", 
              lambda d: sets(d, REDIS_URL="redis://:hunter2@redis")),
    workloads("files_are_mounted", "API_KEY_FILE: /secrets/llm/api-key is not mounted",
              lambda d: first(d)["volumeMounts"].pop(1)),
    workloads("files_are_mounted", "REDIS_CA: /secrets/redis/gone is not mounted",
              lambda d: sets(d, REDIS_CA="/secrets/redis/gone")),
    workloads("files_are_mounted", "/etc/gone is not mounted", lambda d: first(d).update(args=["/etc/gone"])),
    Fault("network_is_bounded", "0.0.0.0/0 without exceptions",
          lambda w: policy(w)["egress"][1]["to"].append({"ipBlock": {"cidr": "0.0.0.0/0"}})),
    Fault("network_is_bounded", "::/0 without exceptions",
          lambda w: policy(w)["egress"][1]["to"].append({"ipBlock": {"cidr": "::/0"}})),
    Fault("network_is_bounded", "an egress rule is for everybody", lambda w: policy(w)["egress"][0].pop("to")),
    Fault("network_is_bounded", "an ingress rule is for everybody", lambda w: policy(w)["ingress"].append({})),
    Fault("network_is_bounded", "an ingress rule is for every namespace",
          lambda w: policy(w)["ingress"][0]["from"].append({"namespaceSelector": {}})),
    Fault("network_is_bounded", "says nothing of Egress", lambda w: policy(w).update(policyTypes=["Ingress"])),
    Fault("no_old_external_secrets", "names external-secrets.io/v1beta1",
          lambda w: w.texts.update({"deploy/x.yaml": "apiVersion: external-secrets.io/v1beta1"})),
    Fault("kustomizations_complete", "services.yaml",
          lambda w: kustomization(w)["resources"].remove("services.yaml")),
    Fault("kustomizations_complete", "gone.yaml", lambda w: kustomization(w)["resources"].append("gone.yaml")),
)

KEDA_FAULTS = (
    scalers("target_exists", "target gone is not in", lambda s, _: s.spec["scaleTargetRef"].update(name="gone"),
            kinds=SCALABLE),
    Fault("target_exists", "target list-worker is not in", lambda w: w.external.pop(0)),
    Fault("one_per_target", "is already scaled by", lambda w, s, _: w.objects.append(s), SCALABLE),
    scalers("no_replicas", "has replicas: 3", lambda _, d: d.spec.update(replicas=3), kinds=SCALABLE),
    scalers("name_fits", "has 58 characters", lambda s, _: s.data["metadata"].update(name="a" * 58)),
    scalers("metadata_is_text", "4 is not a string", lambda s, _: keys(s).update(tasksPerReplica=4)),
    scalers("metadata_is_known", "unknown trigger keys: listname", lambda s, _: keys(s).update(listname="acme:x")),
    scalers("metadata_is_known", "is not a duration", lambda s, _: keys(s).update(maxQueueWait="2 minutes")),
    scalers("metadata_is_known", "is not a duration", lambda s, _: keys(s).update(drainTime="30")),
    scalers("bounds_agree", "20 in the spec, 21 in the trigger", lambda s, _: keys(s).update(maxReplicaCount="21")),
    scalers("bounds_agree", "20 in the spec, None in the trigger", lambda s, _: keys(s).pop("maxReplicaCount")),
    scalers("bounds_agree", "1 in the spec, 0 in the trigger", lambda s, _: s.spec.update(minReplicaCount=1)),
    scalers("bounds_agree", "0 in the spec, None in the trigger", lambda s, _: keys(s).pop("minReplicaCount"),
            kinds=SCALABLE),
    scalers("errors_do_not_scale_in", "fallback static",
            lambda s, _: s.spec.update(fallback={"failureThreshold": 3, "replicas": 2}), kinds=SCALABLE),
    scalers("errors_do_not_scale_in", "fallback currentReplicasIfLower",
            lambda s, _: s.spec.update(fallback={"behavior": "currentReplicasIfLower", "replicas": 2}), kinds=SCALABLE),
    scalers("errors_do_not_scale_in", "must be AverageValue", lambda s, _: trigger(s).update(metricType="Value"),
            kinds=SCALABLE),
    scalers("errors_do_not_scale_in", "scalingModifiers",
            lambda s, _: s.spec["advanced"].update(scalingModifiers={"formula": "a", "target": "1"}), kinds=SCALABLE),
    scalers("errors_do_not_scale_in", "maximum over several", lambda s, _: s.spec["triggers"].append({"type": "cron"}),
            kinds=SCALABLE),
    *(scalers("jobs_run_to_their_end", says, plant, kinds=("ScaledJob",)) for says, plant in (
        ("rollout.strategy is not gradual", lambda s, _: s.spec.pop("rollout")),
        ("rollout.strategy is not gradual", lambda s, _: s.spec["rollout"].update(strategy="immediate")),
        ("rollout.strategy is not gradual", lambda s, _: s.spec.update(rolloutStrategy="immediate")),
        ("scalingStrategy must be default", lambda s, _: s.spec.update(scalingStrategy={"strategy": "eager"})),
        ("type must be external", lambda s, _: trigger(s).update(type="external-push")),
        ("names a metricType", lambda s, _: trigger(s).update(metricType="AverageValue")),
        ("must say workload: job", lambda s, _: keys(s).pop("workload")),
        ("parallelism and completions", lambda s, _: s.spec["jobTargetRef"].update(parallelism=2)),
        ("maximum over several", lambda s, _: s.spec["triggers"].append({"type": "cron"})))),
    scalers("small_steps_reach_the_hpa", "scaleUp.tolerance is None",
            lambda s, _: behaviour(s)["scaleUp"].pop("tolerance"), kinds=SCALABLE),
    scalers("small_steps_reach_the_hpa", "scaleDown.tolerance is 0.1",
            lambda s, _: behaviour(s)["scaleDown"].update(tolerance="0.1"), kinds=SCALABLE),
    scalers("grace_covers_drain", "shorter than drainTime 1800 s",
            lambda _, d: d.pod.update(terminationGracePeriodSeconds=1799)),
    scalers("address_is_ours", "is no Service of the set",
            lambda s, _: keys(s).update(scalerAddress="agent-scaler:9090")),
    scalers("address_is_ours", "has no port 9091",
            lambda s, _: keys(s).update(scalerAddress="agent-scaler.agent-scaler.svc.cluster.local:9091")),
    Fault("address_is_ours", "is not headless", lambda w: get(w, "Service", "agent-scaler")["spec"].pop("clusterIP")),
    scalers("tenant_may", "may not watch other:tasks", lambda s, _: keys(s).update(listName="other:tasks")),
    scalers("tenant_may", "may not watch acme:tasks", lambda s, _: keys(s).update(connection="redis-other")),
    scalers("tenant_may", "may not watch other:agents", lambda s, _: keys(s).update(workerScope="other:agents")),
    scalers("tenant_may", "may not use the limit openai", lambda s, _: keys(s).update(llmLimit="openai")),
    Fault("tenant_may", "namespace acme may not watch", lambda w: server(w).update(tenants={})),
    Fault("server_file", "unknown: listenOn", lambda w: server(w).update(listenOn="x")),
    Fault("server_file", "unknown: pass", lambda w: server(w)["connections"]["redis-main"].update({"pass": "x"})),
    Fault("server_file", "unknown connections: redis-x",
          lambda w: server(w)["tenants"]["acme"]["connections"].update({"redis-x": ["*"]})),
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


NODES = ("Deployment", "StatefulSet", "ScaledJob")
NODE_FAULTS = (
    Fault("pool_exists", "pool agents-gpu is not in", lambda w, _s, _d: drop(w, "NodePool", "agents-gpu"), WORKLOADS,
          "agent-worker-gpu"),
    Fault("pool_exists", "no worker asks for it", lambda w: drop(w, "Deployment", "agent-worker-gpu")),
    Fault("pool_exists", "node class agents-gpu is not in", lambda w: drop(w, "EC2NodeClass", "agents-gpu")),
    Fault("pool_is_bounded", "has no limits", lambda w, _s, _d: pool(w).pop("limits"), WORKLOADS, "agent-worker-gpu"),
    Fault("pool_is_bounded", "maxReplicaCount needs 8, the pool allows 4",
          lambda w, _s, _d: pool(w)["limits"].update({"nvidia.com/gpu": 4}), NODES, "agent-worker-gpu"),
    Fault("pool_waits_for_pods", "the pool waits 1h",
          lambda w, _s, _d: pool(w)["template"]["spec"].update(terminationGracePeriod="1h"), WORKLOADS,
          "agent-worker-gpu"),
    Fault("pool_waits_for_pods", "has no terminationGracePeriod",
          lambda w: pool(w)["template"]["spec"].pop("terminationGracePeriod")),
    workloads("taints_tolerated", "does not tolerate", lambda d: d.pod.pop("tolerations"), "agent-worker-gpu"),
    workloads("taints_tolerated", "does not tolerate", lambda d: d.pod["tolerations"][0].update(value="false"),
              "agent-worker-gpu"),
    Fault("taints_tolerated", "has no taint", lambda w: pool(w)["template"]["spec"].pop("taints")),
    scalers("start_fits", "nodeStartupTime is not set", lambda s, _: keys(s).pop("nodeStartupTime"),
            "agent-worker-gpu", NODES),
    scalers("start_fits", "cooldownPeriod 300", lambda s, _: s.spec.update(cooldownPeriod=300), "agent-worker-gpu",
            SCALABLE),
    scalers("start_fits", "gives up after 300 s", lambda _, d: first(d)["startupProbe"].update(failureThreshold=30),
            "agent-worker-gpu", NODES),
    scalers("start_fits", "gives up after 0 s", lambda _, d: first(d).pop("startupProbe"), "agent-worker-gpu", NODES),
    scalers("start_fits", "progressDeadlineSeconds 600", lambda _, d: d.spec.pop("progressDeadlineSeconds"),
            "agent-worker-gpu", ("Deployment",)),
    scalers("long_work_is_protected", "lacks karpenter.sh/do-not-disrupt",
            lambda _, d: d.template["metadata"]["annotations"].pop("karpenter.sh/do-not-disrupt"), kinds=NODES),
)

WORKER_FAULTS = (
    *(scalers(rule, says, plant) for rule, says, plant in (
        ("worker_takes_what_is_counted", "QUEUE is acme:other", lambda _, d: sets(d, QUEUE="acme:other")),
        ("worker_takes_what_is_counted", "QUEUE is None", lambda _, d: forgets(d, "QUEUE")),
        ("worker_takes_what_is_counted", "QUEUE_KIND is stream", lambda _, d: forgets(d, "QUEUE_KIND")),
        ("worker_takes_what_is_counted", "PROCESSING_LIST is acme:x", lambda _, d: sets(d, PROCESSING_LIST="acme:x")),
        ("worker_takes_what_is_counted", "GROUP is workers, consumerGroup of the trigger others", lambda s, d: (
            sets(d, QUEUE_KIND="stream"),
            keys(s).update(source="redis-streams", stream="acme:tasks", consumerGroup="others"))),
        ("worker_has_the_slots", "SLOTS is 9", lambda _, d: sets(d, SLOTS="9")),
        ("worker_has_the_slots", "tasksPerReplica 9", lambda s, _: keys(s).update(tasksPerReplica="9")),
        ("worker_has_the_slots", "SLOTS is 4", lambda s, d: (forgets(d, "SLOTS"), keys(s).pop("tasksPerReplica"))),
        ("worker_has_the_slots", "ONCE is", lambda s, d: (
            forgets(d, "ONCE") if s.kind == "ScaledJob" else sets(d, ONCE="true"))),
        ("worker_drains_as_long_as_said", "GRACE is 20m, drainTime of the trigger 30m",
         lambda _, d: sets(d, GRACE="20m")),
        ("worker_drains_as_long_as_said", "GRACE is 30m, drainTime of the trigger 1h", lambda s, d: (
            forgets(d, "GRACE"), keys(s).update(drainTime="1h"))),
        ("worker_shares_the_limit", "LIMIT is None", lambda _, d: forgets(d, "LIMIT")),
        ("worker_shares_the_limit", "LIMIT is openai/prod", lambda _, d: sets(d, LIMIT="openai/prod")),
        ("worker_shares_the_limit", "the trigger reads no reports", lambda s, _: (
            keys(s).pop("llmLimit"), keys(s).pop("workersConnection"))),
        ("worker_can_ask_its_model", "lacks MODEL", lambda _, d: forgets(d, "MODEL")),
        ("worker_can_ask_its_model", "lacks API_KEY_FILE", lambda _, d: forgets(d, "API_KEY_FILE")),
        ("worker_can_ask_its_model", "listens on 8080", lambda _, d: first(d)["ports"][0].update(containerPort=8081)))),
    workloads("pod_outlives_its_worker", "are 7230 s", lambda d: sets(d, GRACE="2h")),
    workloads("pod_outlives_its_worker", "the pod has 30 s", lambda d: d.pod.pop("terminationGracePeriodSeconds")),
    workloads("limits_are_known", "has the scope openai/prod", lambda d: sets(d, LIMIT="openai/prod")),
    Fault("limits_are_known", "has the scope anthropic", lambda w: server(w)["llmLimits"].clear()),
    *(Fault("jobs_have_time", "activeDeadlineSeconds 600", plant, (kind,)) for kind, plant in (
        ("ScaledJob", lambda _w, _s, d: d.spec["jobTargetRef"].update(activeDeadlineSeconds=600)),
        ("Job", lambda _w, _s, d: d.spec.update(activeDeadlineSeconds=600)),
        ("CronJob", lambda _w, _s, d: d.spec["jobTemplate"]["spec"].update(activeDeadlineSeconds=600)))),
)

API = "agent-api"
# Without a ScaledJob, which no ScaledObject is there to be made of.
API_KINDS = tuple(kind for kind in WORKLOADS if kind != "ScaledJob")
API_FAULTS = (
    Fault("autoscaler_can_act", "its target is not in",
          lambda w, _s, _d: autoscaler(w)["scaleTargetRef"].update(name="gone"), SCALABLE, API),
    workloads("autoscaler_can_act", "agent-api has replicas", lambda d: d.spec.update(replicas=2), API, SCALABLE),
    workloads("autoscaler_can_act", "requests no cpu", lambda d: first(d)["resources"]["requests"].pop("cpu"), API,
              SCALABLE),
    Fault("autoscaler_can_act", "a ScaledObject scales agent-worker too",
          lambda w: (autoscaler(w)["scaleTargetRef"].update(name="agent-worker"),
                     move(w, "HorizontalPodAutoscaler", "agent-api", "deploy/manifests/worker/x.yaml"))),
    Fault("outlives_a_node", "minReplicas is 1", lambda w, _s, _d: autoscaler(w).pop("minReplicas"), SCALABLE, API),
    workloads("outlives_a_node", "is not spread over topology.kubernetes.io/zone",
              lambda d: d.pod["topologySpreadConstraints"].pop(), API, SCALABLE),
    workloads("outlives_a_node", "is not spread over kubernetes.io/hostname",
              lambda d: d.pod["topologySpreadConstraints"][0]["labelSelector"].update(matchLabels={"x": "y"}), API,
              SCALABLE),
    Fault("outlives_a_node", "has no PodDisruptionBudget",
          lambda w, _s, _d: drop(w, "PodDisruptionBudget", "agent-api"), SCALABLE, API),
    Fault("outlives_a_node", "has no NetworkPolicy", lambda w, _s, _d: drop(w, "NetworkPolicy", "agent-api"), SCALABLE,
          API),
    workloads("ends_without_an_error", "preStop does not sleep", lambda d: first(d).pop("lifecycle"), API, SCALABLE),
    workloads("ends_without_an_error", "grace period 25 s is not longer",
              lambda d: d.pod.update(terminationGracePeriodSeconds=25), API, SCALABLE),
    workloads("ends_without_an_error", "grace period 35 s is not longer", lambda d: sets(d, DRAIN="30s"), API,
              SCALABLE),
    workloads("ends_without_an_error", "livenessProbe must ask /livez",
              lambda d: first(d)["livenessProbe"]["httpGet"].update(path="/readyz"), API, SCALABLE),
    workloads("tasks_have_workers", "watches the list acme:other", lambda d: sets(d, QUEUE="acme:other"), API,
              API_KINDS),
    workloads("tasks_have_workers", "watches the stream acme:tasks", lambda d: sets(d, QUEUE_KIND="stream"), API,
              API_KINDS),
    workloads("tasks_have_workers", "has the scope gone", lambda d: sets(d, LIMIT="gone"), API, API_KINDS),
)

FAULTS = (*POD_FAULTS, *KEDA_FAULTS, *NODE_FAULTS, *WORKER_FAULTS, *API_FAULTS)
