"""Every pod that is shipped starts: the real programs, with the arguments, variables and mounts of their manifests.

    starts.py --programs DIR      DIR has the programs as cargo builds them, e.g. target/debug

A pod gets what its manifest gives it and nothing else. Secrets are the example files beside the manifests, ConfigMaps
are those that kustomize or Helm would make. Only what a cluster would add is made up here: an address for each name, a
free port for each port, real certificates where the examples say PEM. Redis has the users that the examples name, with
exactly those rights, and must refuse nothing of what is asked.
"""

from __future__ import annotations

import argparse
import concurrent.futures
import contextlib
import functools
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

sys.dont_write_bytecode = True  # a check leaves no trace in the clone

import accepted  # noqa: E402
import charts  # noqa: E402
from check import Report  # noqa: E402
from helm import all_helms  # noqa: E402
from model import ROOT, Obj, World, load  # noqa: E402
from redis_server import Redis, free_port, users  # noqa: E402
from rules_pods import sources  # noqa: E402
from schemas import one_line  # noqa: E402

# The program in an image, by the last part of the image's name.
PROGRAMS = {"agent-scaler": "agent-scaler", "agent-worker": "examples/worker", "agent-worker-gpu": "examples/worker",
            "agent-api": "examples/agent"}
# The names that the manifests give to Redis.
REDIS = re.compile(r"(rediss?)://redis\.data\.svc(?::6379)?")
PEM = "REPLACE-ME (PEM)"
PATIENCE = 60


class Refused(Exception):
    """The kubelet would not start the container, or it has ended."""


class Pod:
    """One container of a workload, as a process."""

    def __init__(self, world: World, obj: Obj, container: dict, redis: Redis, programs: Path, root: Path):
        self.world, self.obj, self.container, self.redis, self.root = world, obj, container, redis, root
        image = re.split(r"[@:]", container["image"].rsplit("/", 1)[-1])[0]
        if image not in PROGRAMS:
            raise Refused(f"starts.py does not know which program is in {container['image']}")
        self.program = programs / PROGRAMS[image]
        self.ports = {port["containerPort"]: free_port() for port in container.get("ports", [])}
        self.log = root / "log"

    def start(self) -> subprocess.Popen:
        unknown = {v["name"] for v in self.container.get("env", [])} - variables_of(self.program)
        if unknown:
            self.refuse(f"the program knows no variable {', '.join(sorted(unknown))}")
        self.mount()
        command = [self.program, *(self.local(part) for part in self.container.get("args", []))]
        env = {"PATH": "/usr/bin:/bin", "HOSTNAME": self.obj.name} | self.environment()
        with self.log.open("w") as log:
            return subprocess.Popen(command, env=env, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.root)

    def mount(self) -> None:
        volumes = {v["name"]: v for v in self.obj.pod.get("volumes", [])}
        for mount in self.container.get("volumeMounts", []):
            folder = self.root / mount["mountPath"].strip("/")
            folder.mkdir(parents=True, exist_ok=True)
            volume = volumes.get(mount["name"]) or self.refuse(f"no volume {mount['name']}")
            for kind, name, items in sources(volume):
                optional = any(part.get("optional") for part in volume.values() if isinstance(part, dict))
                data = self.data(kind, name)
                if data is None and not optional:
                    self.refuse(f"no {kind} {name}")
                for item in items or [{"key": key, "path": key} for key in data or {}]:
                    if item["key"] not in (data or {}):
                        self.refuse(f"{kind} {name} has no key {item['key']}")
                    path = folder / item["path"]
                    path.parent.mkdir(parents=True, exist_ok=True)
                    path.write_text(self.content(item["key"], data[item["key"]]))

    def environment(self) -> dict[str, str]:
        env = {}
        for variable in self.container.get("env", []):
            if "value" in variable:
                env[variable["name"]] = self.local(variable["value"])
                continue
            ref = variable["valueFrom"].get("secretKeyRef") or self.refuse(f"{variable['name']} is of an unknown kind")
            data = self.data("Secret", ref["name"]) or {}
            if ref["key"] not in data:
                self.refuse(f"Secret {ref['name']} has no key {ref['key']}")
            env[variable["name"]] = self.content(ref["key"], data[ref["key"]])
        if self.program.name == "worker" and "LISTEN" not in env:
            # Its default, on a free port.
            env["LISTEN"] = self.local("0.0.0.0:8080")
        return env

    def data(self, kind: str, name: str) -> dict[str, str] | None:
        """What an object holds: that of the set, of a kustomization, or (for the chart) what the values promise."""
        found = self.world.find(kind, name, self.obj.namespace)
        if found:
            return found.data.get("stringData") or found.data.get("data") or {}
        for k in self.world.kustomizations:
            for generator in k.data.get("configMapGenerator", []):
                if (kind, name, self.obj.namespace) == ("ConfigMap", generator["name"], k.data.get("namespace")):
                    return {file: (ROOT / k.folder / file).read_text() for file in generator["files"]}
        entry = self.world.listed(kind, name, self.obj.namespace)
        return {key: PEM if key.endswith((".crt", ".key")) else "text" for key in entry["keys"]} if entry else None

    def content(self, key: str, text: str) -> str:
        """What a key of a Secret or ConfigMap holds."""
        if text.strip() == PEM:
            return self.redis.private_key if key.endswith(".key") else self.redis.certificate
        return self.local(text)

    def local(self, text: str) -> str:
        """A text of the manifest, with this machine's paths, ports and addresses."""
        text = REDIS.sub(lambda m: self.redis.url(m[1]), text)
        text = re.sub(r"\b0\.0\.0\.0:(\d+)", lambda m: f"127.0.0.1:{self.port(int(m[1]))}", text)
        paths = "|".join(re.escape(mount["mountPath"]) for mount in self.container.get("volumeMounts", []))
        return re.sub(rf"(?<![\w/.])({paths})(?=/|$)", lambda m: f"{self.root}{m[1]}", text) if paths else text

    def port(self, number: int) -> int:
        if number not in self.ports:
            self.refuse(f"it listens on {number}, which is none of the container's ports")
        return self.ports[number]

    def ready(self, process: subprocess.Popen) -> None:
        """Waits for each of its probes; a Job's container, which has none that says so, for its end."""
        for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
            ask = self.container.get(probe, {}).get("httpGet")
            if ask:
                named = {p.get("name"): p["containerPort"] for p in self.container["ports"]}
                self.answered(process, self.ports[named.get(ask["port"], ask["port"])], ask["path"])
        if "readinessProbe" not in self.container:
            code = process.wait(PATIENCE)
            if code:
                self.refuse(f"it ended with {code}: {one_line(self.log.read_text())}")

    def answered(self, process: subprocess.Popen, port: int, path: str) -> None:
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if process.poll() is not None:
                self.refuse(f"it ended with {process.returncode}: {one_line(self.log.read_text())}")
            with contextlib.suppress(OSError):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=2):
                    return
            time.sleep(0.1)
        self.refuse(f"{path} has not answered within {PATIENCE} s: {one_line(self.log.read_text())}")

    @staticmethod
    def refuse(problem: str) -> None:
        raise Refused(problem)


@functools.cache
def variables_of(program: Path) -> frozenset[str]:
    """The variables that a program reads, as its help says."""
    words = [program, "serve", "--help"] if program.name == "agent-scaler" else [program, "--help"]
    said = subprocess.run(words, capture_output=True, text=True, check=True).stdout
    return frozenset(re.findall(r"\[env: (\w+)", said))


def started(world: World, obj: Obj, redis: Redis, programs: Path) -> str | None:
    """None if every container of the workload becomes ready."""
    for container in obj.pod.get("containers", []):
        with tempfile.TemporaryDirectory() as folder:
            process = None
            try:
                pod = Pod(world, obj, container, redis, programs, Path(folder))
                process = pod.start()
                pod.ready(process)
            except (Refused, OSError, subprocess.TimeoutExpired) as problem:
                return f"{container['name']}: {problem}"
            finally:
                if process:
                    process.kill()
                    process.wait()
    return None


def check_manifests(redis: Redis, programs: Path, report: Report) -> None:
    before, world = report.now, load()
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        pods = world.workloads()
        for obj, problem in zip(pods, pool.map(lambda o: started(world, o, redis, programs), pods), strict=True):
            report.add(f"{obj} starts", problem)
    report.add("the scaler reads all queues", asked(redis, programs, "plan"))
    report.add("the scaler's own check", asked(redis, programs, "check", "--deny-warnings"))
    for line in redis.denied():
        report.add("rights of the examples", line)
    report.section(f"{len(pods)} workloads start", before)


def check_charts(redis: Redis, programs: Path, report: Report) -> None:
    before, helm = report.now, all_helms()[0][-1]
    def one(file: Path) -> str | None:
        world = charts.world_of(file, helm.template(file), None)
        return started(world, world.workloads()[0], redis, programs)
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        for file, problem in zip(charts.VALUES, pool.map(one, charts.VALUES), strict=True):
            report.add(f"{file.name} starts", problem)
    report.section(f"the chart starts with {len(charts.VALUES)} value files", before)


def gpu(w: World) -> dict:
    return w.find("Deployment", "agent-worker-gpu").pod["containers"][0]


def variables(w: World, *gone: str) -> None:
    gpu(w)["env"] = [v for v in gpu(w)["env"] if v["name"] not in gone]


def secret(w: World, name: str) -> dict:
    return w.find("Secret", name).data["stringData"]


# What a pod does not start with: what it says, and the mistake.
FAULTS = (
    ("has no key password", lambda w: secret(w, "agent-worker-redis").pop("password")),
    ("no Secret agent-worker-llm", lambda w: w.objects.remove(w.find("Secret", "agent-worker-llm"))),
    ("has no key url", lambda w: gpu(w)["env"].append(
        {"name": "SCOPE", "valueFrom": {"secretKeyRef": {"name": "agent-worker-redis", "key": "url"}}})),
    ("--model (MODEL): is required", lambda w: variables(w, "MODEL")),
    ("--api-key-file", lambda w: gpu(w)["volumeMounts"].pop(1)),
    ("knows no variable SLOT", lambda w: gpu(w)["env"].append({"name": "SLOT", "value": "1"})),
    ("--slots (SLOTS)", lambda w: gpu(w)["env"].append({"name": "SLOTS", "value": "one"})),
    ("none of the container's ports", lambda w: gpu(w)["ports"][0].update(containerPort=9999)),
    ("no volume shm", lambda w: w.find("Deployment", "agent-worker-gpu").pod["volumes"].pop()),
    ("which program is in", lambda w: gpu(w).update(image="example.com/other:1")),
)


def self_test(redis: Redis, programs: Path, report: Report) -> None:
    before = report.now
    for says, plant in FAULTS:
        world = load()
        plant(world)
        problem = started(world, world.find("Deployment", "agent-worker-gpu"), redis, programs)
        report.add(f"a pod that does not start: {says}", None if says in (problem or "") else f"it said {problem}")
    small = [line.replace("+zcount ", "") for line in users().values()]
    with Redis(small) as other:
        asked(other, programs, "plan")
        refused = other.denied()
    report.add("rights that are too small", None if any("zcount" in line for line in refused) else f"found {refused}")
    report.section("self-test of the starts", before)


def asked(redis: Redis, programs: Path, command: str, *flags: str) -> str | None:
    """What the program says of every shipped trigger, with the shipped server file and the scaler's own user."""
    world = load()
    scaler = world.find("Deployment", "agent-scaler")
    with tempfile.TemporaryDirectory() as folder:
        pod = Pod(world, scaler, scaler.pod["containers"][0], redis, programs, Path(folder))
        pod.mount()
        files = [part for name in ("manifests/worker", "manifests/worker/job", "node-pools")
                 for part in ("-f", ROOT / "deploy" / name)]
        config = Path(folder) / "etc/agent-scaler/agent-scaler.yaml"
        done = subprocess.run([programs / "agent-scaler", command, *files, *flags, "--config", config],
                              capture_output=True, text=True, timeout=PATIENCE, check=False)
    return None if done.returncode == 0 else one_line(f"ended with {done.returncode}: {done.stdout} {done.stderr}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--programs", type=Path, required=True, help="where cargo has built the programs")
    programs, report = parser.parse_args().programs.resolve(), Report()
    with Redis(list(users().values())) as redis:
        self_test(redis, programs, report)
        redis.command("ACL", "LOG", "RESET")
        check_manifests(redis, programs, report)
        check_charts(redis, programs, report)
    accepted.check(all_helms()[0][-1], programs, report)
    return report.close()


if __name__ == "__main__":
    sys.exit(main())
