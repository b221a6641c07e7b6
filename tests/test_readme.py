"""The README's generated parts, the commands' help and the tree of the code.

`python -m tests.test_readme` renews them.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = ROOT / "README.md"
COMMANDS = [[name] for name in ("simulate", "generate", "export", "tune", "measure", "iterate", "scenes")] + [
    ["scenes", "show"]
]
FOLDERS = [
    f"matrix_align{part}" for part in ("", "/llm", "/simulation", "/data", "/generate", "/tuning", "/evals", "/cli")
]


def helps() -> str:
    """What each command says of itself, at 80 columns."""
    told = []
    for words in COMMANDS:
        command = [sys.executable, "-m", "matrix_align", *words, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, "COLUMNS": "80"})
        told.append(done.stdout.replace("python -m matrix_align", "matrix-align").strip())
    return "\n\n".join(told)


def tree() -> str:
    """Every module with the first sentence of its docstring."""
    lines = []
    for folder in FOLDERS:
        lines.append(f"{folder}/")
        for path in sorted((ROOT / folder).glob("*.py")):
            told = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            first = " ".join(told.split("\n\n")[0].split())
            if first:
                lines.append(f"  {path.name:<14} {re.split(r'[.] ', first)[0].rstrip('.')}")
    return "\n".join(lines)


def renewed(text: str) -> str:
    for name, content in (("help", helps()), ("tree", tree())):
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        before, after = text.split(begin)[0], text.split(end)[1]
        text = f"{before}{begin}\n```\n{content}\n```\n{end}{after}"
    return text


def test_generated_parts_are_up_to_date() -> None:
    text = README.read_text(encoding="utf-8")
    assert renewed(text) == text, "run: python -m tests.test_readme"


if __name__ == "__main__":
    README.write_text(renewed(README.read_text(encoding="utf-8")), encoding="utf-8")
