"""`dpvp` as a user types it, in a ROS domain that no other test is in."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def environment(domain: int) -> dict[str, str]:
    """The environment of a shell in that ROS domain, on this machine alone."""
    return dict(os.environ) | {"ROS_DOMAIN_ID": str(domain), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}


def dpvp(*words: str, cwd: Path | None = None, domain: int = 94) -> subprocess.CompletedProcess[str]:
    """Run `dpvp words` in the folder `cwd` and wait for it."""
    command = [sys.executable, "-m", "dpvp", *words]
    surroundings = environment(domain)
    return subprocess.run(command, cwd=cwd, env=surroundings, capture_output=True, text=True, check=False, timeout=180)
