"""What the drivers of the Python frameworks share: one command a line on stdin, one line of JSON on stdout for each."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable


def drive(commands: dict[str, Callable[..., object]]) -> None:
    for line in sys.stdin:
        name, *arguments = line.split()
        print(json.dumps(commands[name](*arguments)), flush=True)
