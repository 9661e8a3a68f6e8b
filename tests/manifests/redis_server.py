"""A real Redis with TLS, and with the users that the shipped examples name."""

from __future__ import annotations

import re
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from model import ROOT

PASSWORD = "REPLACE-ME"                # what the examples hold


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def users() -> dict[str, str]:
    """The users of Redis in the comments of the example Secrets, each with its line."""
    found = {}
    for file in sorted((ROOT / "deploy/manifests").rglob("*.example.yaml")):
        for name, rest in re.findall(r"^#\s+user (\S+) (on >PASSWORD .*)$", file.read_text(), re.MULTILINE):
            found[name] = f"user {name} {rest.replace('PASSWORD', PASSWORD)}"
    return found


class Redis:
    """Runs as long as the context."""

    def __init__(self, lines: list[str]):
        self.folder = tempfile.TemporaryDirectory()
        self.port, self.tls_port = free_port(), free_port()
        at = Path(self.folder.name)
        # One certificate is its own authority, and everybody's: what is tested is that files arrive, not TLS.
        subject = ["-subj", "/CN=redis", "-addext", "subjectAltName=IP:127.0.0.1",
                   "-addext", "basicConstraints=critical,CA:FALSE"]
        curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
        subprocess.run(["openssl", "req", "-x509", *curve, "-nodes", "-days", "2", *subject,
                        "-keyout", at / "key.pem", "-out", at / "cert.pem"], check=True, capture_output=True)
        self.certificate, self.private_key = (at / "cert.pem").read_text(), (at / "key.pem").read_text()
        (at / "users").write_text("\n".join([*lines, "user default off", "user admin on >admin ~* &* +@all", ""]))
        options = {"port": self.port, "tls-port": self.tls_port, "tls-cert-file": at / "cert.pem", "save": "",
                   "tls-key-file": at / "key.pem", "tls-auth-clients": "no", "aclfile": at / "users", "dir": at,
                   "bind": "127.0.0.1", "appendonly": "no", "logfile": at / "log"}
        words = [str(word) for key, value in options.items() for word in (f"--{key}", value)]
        self.process = subprocess.Popen(["redis-server", *words], stdout=subprocess.DEVNULL)

    def __enter__(self) -> Redis:
        end = time.monotonic() + 10
        while self.command("PING").strip() != "PONG":
            if time.monotonic() > end:
                raise OSError(f"redis-server does not answer: {(Path(self.folder.name) / 'log').read_text()[-500:]}")
            time.sleep(0.05)
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        self.folder.cleanup()

    def command(self, *words: str) -> str:
        client = ["redis-cli", "-p", str(self.port), "--user", "admin", "--pass", "admin", "--no-auth-warning"]
        return subprocess.run([*client, *words], capture_output=True, text=True, check=False).stdout

    def url(self, scheme: str) -> str:
        return f"{scheme}://127.0.0.1:{self.tls_port if scheme == 'rediss' else self.port}"

    def denied(self) -> list[str]:
        """Commands that Redis refused to any user. The client library's own naming command is left out."""
        entries = re.findall(r"^reason\n(\S+)\ncontext\n\S+\nobject\n(.*)\nusername\n(\S+)$",
                             self.command("ACL", "LOG", "1000"), re.MULTILINE)
        return [f"Redis refuses {user} the {reason} {what}" for reason, what, user in entries
                if what != "client|setinfo"]
