"""Strict schemas: Kubernetes' own from a Python package, those of KEDA, Karpenter and Prometheus from Go modules.

The published CRDs allow unknown fields in the eyes of a JSON schema validator (the API server prunes them), so a
misspelt field would pass. They are closed here. CEL rules in them (`x-kubernetes-validations`) are not evaluated.
"""

from __future__ import annotations

import functools
import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import jsonschema
import yaml
from kubernetes_validate import utils
from referencing import Registry, Resource

from model import Obj

KUBERNETES = ("1.35", "1.37")
CORE_GROUPS = {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1",
               "autoscaling/v2", "scheduling.k8s.io/v1"}


@dataclass(frozen=True)
class Module:
    """A Go module that carries CRDs. The sum is go.sum's: the content cannot change under us."""

    path: str
    version: str
    sum: str
    files: tuple[str, ...]


KEDA = "config/crd/bases/keda.sh_"
AWS = "pkg/apis/crds/karpenter"
MODULES = (
    Module("github.com/kedacore/keda/v2", "v2.21.0", "h1:R6z2HZvstK4RLUMxroNACzBj74xGxt3kG59b5Xc+Xps=",
           (KEDA + "scaledobjects.yaml", KEDA + "scaledjobs.yaml", KEDA + "triggerauthentications.yaml",
            KEDA + "clustertriggerauthentications.yaml")),
    Module("sigs.k8s.io/karpenter", "v1.8.0", "h1:AmTHUPtnuL8IX9mbcD3NOohyk62idrBCBtM+8Wn6Jvk=",
           (AWS + ".sh_nodepools.yaml",)),
    # The oldest Karpenter that the pools are for, and a recent one.
    Module("github.com/aws/karpenter-provider-aws", "v1.8.6", "h1:oVQG3X09tC2PyNyH5q9ksZbFA63ougAT01uyt3EmGrM=",
           (AWS + ".k8s.aws_ec2nodeclasses.yaml",)),
    Module("github.com/aws/karpenter-provider-aws", "v1.14.1", "h1:WGtIQTQcxpElYMdWfWuPwaF2+9muR+hYhPZsTtoY8Gs=",
           (AWS + ".k8s.aws_ec2nodeclasses.yaml", AWS + ".sh_nodepools.yaml")),
    Module("github.com/prometheus-operator/prometheus-operator", "v0.85.0",
           "h1:M5xLCLEoaW2IJfnuCwFzzpL+jSVQu3KGT84Pye+fW8s=",
           ("example/prometheus-operator-crd/monitoring.coreos.com_servicemonitors.yaml",)),
)


def cache_dir() -> Path:
    """Never inside the clone."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "agent-scaler" / "manifests"


class Schemas:
    """All schemas, and why some are not there."""

    def __init__(self, modules: tuple[Module, ...] = MODULES):
        self.missing: list[str] = []
        self.crds: dict[tuple[str, str], list[tuple[str, jsonschema.Validator]]] = {}
        for module in modules:
            try:
                self.add(module)
            except (OSError, ValueError, subprocess.SubprocessError, yaml.YAMLError) as error:
                self.missing.append(f"schemas of {module.path} {module.version} could not be had: {one_line(error)}")

    def add(self, module: Module) -> None:
        folder = download(module)
        for file in module.files:
            crd = yaml.load((folder / file).read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
            names = crd["spec"]
            for version in names["versions"]:
                key = (f"{names['group']}/{version['name']}", names["names"]["kind"])
                validator = jsonschema.Draft4Validator(closed(version["schema"]["openAPIV3Schema"]))
                label = f"{module.path.rsplit('/v2', 1)[0].rsplit('/', 1)[-1]} {module.version}"
                self.crds.setdefault(key, []).append((label, validator))

    def check(self, obj: Obj) -> list[tuple[str, list[str]]]:
        """For each schema that applies: its label, and the errors. Never empty: no schema is an error too."""
        if obj.api in CORE_GROUPS:
            return [(f"Kubernetes {v}", core_errors(obj.data, v)) for v in KUBERNETES]
        validators = self.crds.get((obj.api, obj.kind))
        if not validators:
            return [("no schema", [f"there is no schema for {obj.api} {obj.kind}"])]
        # A CRD says nothing about metadata; any core kind has the same one.
        stand_in = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": obj.data.get("metadata", {})}
        metadata = core_errors(stand_in, KUBERNETES[-1])
        return [(label, metadata + errors_of(validator, obj.data)) for label, validator in validators]


def download(module: Module) -> Path:
    """The module's folder in the Go module cache."""
    work = cache_dir() / "go"
    work.mkdir(parents=True, exist_ok=True)
    (work / "go.mod").write_text("module agent-scaler.invalid/manifests\n\ngo 1.24\n")
    command = ["go", "mod", "download", "-json", f"{module.path}@{module.version}"]
    env = os.environ | {"GOFLAGS": "-mod=mod", "GOWORK": "off"}
    done = subprocess.run(command, cwd=work, env=env, capture_output=True, text=True, timeout=600, check=False)
    try:
        answer = json.loads(done.stdout)
    except ValueError:
        raise ValueError(done.stderr or f"go ended with {done.returncode}") from None
    if answer.get("Error"):
        raise ValueError(answer["Error"])
    if answer.get("Sum") != module.sum:
        raise ValueError(f"its sum is {answer.get('Sum')}, not {module.sum}")
    return Path(answer["Dir"])


def closed(schema: dict, top: bool = True) -> dict:
    """A CRD's OpenAPI schema as a strict JSON schema (draft 4, whose `exclusiveMinimum` is OpenAPI's)."""
    out = {k: v for k, v in schema.items() if not k.startswith("x-kubernetes-")}
    if "properties" in schema:
        out["properties"] = {k: closed(v, False) for k, v in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields") and "additionalProperties" not in schema:
            out["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = closed(schema["additionalProperties"], False)
    if isinstance(schema.get("items"), dict):
        out["items"] = closed(schema["items"], False)
    if schema.get("x-kubernetes-int-or-string"):
        # `type` and `anyOf` differ between generators; the meaning does not.
        out.pop("anyOf", None)
        out["type"] = ["integer", "string"]
    if schema.get("nullable") and "type" in out:
        out["type"] = [out["type"], "null"] if isinstance(out["type"], str) else [*out["type"], "null"]
    if top:
        out["required"] = sorted({"apiVersion", "kind", "metadata", *schema.get("required", [])})
    # allOf, anyOf and oneOf below hold conditions and no fields of their own: they stay open.
    return out


@functools.cache
def core_registry(version: str) -> Registry:
    contents = utils.schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/_definitions.json", version)
    return Resource.from_contents(contents) @ Registry()


@functools.cache
def core_validator(api: str, kind: str, version: str) -> jsonschema.Validator:
    group = api.split("/")[0].split(".")[0]
    name = f"{kind.lower()}-{group}-{api.split('/')[1]}" if "/" in api else f"{kind.lower()}-{api}"
    contents = utils.schema_contents(f"kubernetes-json-schema/v{version}.0-local-strict/{name}.json", version)
    registry = Resource.from_contents(contents) @ core_registry(version)
    return jsonschema.Draft202012Validator(contents, registry=registry)


def core_errors(data: dict, version: str) -> list[str]:
    try:
        return errors_of(core_validator(data["apiVersion"], data["kind"], version), data)
    except FileNotFoundError:
        return [f"Kubernetes {version} has no {data['apiVersion']} {data['kind']}"]


def errors_of(validator: jsonschema.Validator, data: dict) -> list[str]:
    return [f"{e.json_path}: {one_line(e.message)}" for e in validator.iter_errors(data)]


def one_line(error: object) -> str:
    return " ".join(str(error).split())[:300]
