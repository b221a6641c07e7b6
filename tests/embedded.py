"""Shared by the tests on a real model served here: its name, its weights, a machine that reaches no package index."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

MODEL = "smollm2-135m"  # the smallest that there is
PATIENCE = 800.0  # seconds until a run is said to hang; it takes half a minute where nothing else runs
# No package index can be reached, and none of this machine's own ways to one is known.
OFFLINE = {
    "PIP_INDEX_URL": "http://127.0.0.1:9/simple",
    "PIP_NO_INDEX": "1",
    "PIP_CONFIG_FILE": os.devnull,
    "PIP_FIND_LINKS": "",
    "PIP_EXTRA_INDEX_URL": "",
}


def real_weights() -> Path:
    """The weights in the user's cache, whatever cache the test has chosen. Fetches them if they are missing."""
    code = f"from matrix_align.llm.weights import weights_of; print(weights_of({MODEL!r}).path)"
    env = {name: value for name, value in os.environ.items() if name != "MATRIX_ALIGN_CACHE"}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)
    return Path(done.stdout.strip())
