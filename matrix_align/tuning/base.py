"""The base of a tuning: a model by its name here, a GGUF file, a folder of a transformers model, or a name on the hub.

Owns how each kind is named, identified and loaded by transformers. Knows nothing of training.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import provenance
from ..errors import InputError
from ..llm.choosing import siblings
from ..llm.gguf import dithered_bf16, sha256
from ..llm.names import FORMS, is_ours
from ..llm.weights import weights_of
from ..types import shorten
from .chat_digest import chat_digest
from .quiet import quiet

PROVENANCE = "tune.toml"  # the file in which `tune` notes its settings beside an adapter
LIBRARIES = ("datasets", "matplotlib", "peft", "safetensors", "trl")
INSTALL = "pip install 'matrix-align[tune]'"


@dataclass(frozen=True)
class Base:
    """One base. `name` is for people. `where` is the folder or hub name that transformers loads. `gguf` is its file.

    `digest` is of the weights. `chat` is the digest of the tokenizer and the chat template in a folder. A GGUF file
    holds both itself, so it has no `chat`. A name on the hub has neither digest. `sha256` is the GGUF file's own, and
    `source` says where it was fetched, if it was.
    """

    name: str
    where: str
    digest: str
    gguf: Path | None = None
    chat: str = ""
    sha256: str = ""
    source: str = ""

    @property
    def identity(self) -> str:
        """One digest of everything that decides what the model answers. Empty for a name on the hub."""
        return hashlib.sha256(f"{self.digest} {self.chat}".encode()).hexdigest() if self.chat else self.digest


def named(base: str) -> Base:
    """The base that `--base` names. Raises InputError if the file or folder holds no model."""
    if is_ours(base) or base.lower().endswith(".gguf"):
        return _gguf(base)
    folder = Path(base)
    if folder.is_dir():
        if not (folder / "config.json").is_file():
            raise InputError(f"--base {base} holds no config.json; wanted the folder of a transformers model")
        parts = [folder / "config.json", *sorted(folder.glob("*.safetensors")), *sorted(folder.glob("*.bin"))]
        return Base(
            _called(folder, folder.resolve().name), base, _digest(map(_sha256, parts)), chat=chat_digest(folder)
        )
    if base.startswith((".", "/", "~")) or base.count("/") != 1:
        raise InputError(f"--base {base}: {FORMS}, a folder, or a hub name like a/b")
    return Base(base, base, "")


def _gguf(base: str) -> Base:
    if not is_ours(base) and not Path(base).is_file():
        raise InputError(f"--base {base}: there is no such file")
    weights = weights_of(base)
    path = weights.path
    if len(parts := siblings(path.name)) > 1:
        raise InputError(
            f"--base {base} is split in {len(parts)} files, and only a whole one can be tuned; join them with "
            f"`llama-gguf-split --merge {path} JOINED.gguf` and give --base JOINED.gguf"
        )
    requantised = not re.fullmatch("[0-9a-f]{64}", weights.digest)  # then the digest is not that of this file
    own = _sha256(path) if requantised else weights.digest
    name = weights.name if weights.source else _called(path, weights.name)
    return Base(name, str(path.parent), _digest([own]), path, sha256=own, source=weights.source)


def _called(path: Path, name: str) -> str:
    """The name of weights. For weights that `tune` merged: their base, and the folder they were tuned in."""
    tuned = path.resolve().parent
    tuned_from = provenance.tables_in(tuned / PROVENANCE).get("base", {}).get("name")
    return f"{tuned_from} + {tuned.parent.name}/{tuned.name}" if tuned_from else name


def tokenizer(base: Base) -> Any:
    """The base's tokenizer, with its chat template. Raises InputError if it can't be loaded or has no template."""
    with quiet():
        loaded = _loaded(base, _transformers().AutoTokenizer)
    if not loaded.chat_template:
        raise InputError(f"--base {base.name} has no chat template; take a model made for chats")
    if loaded.pad_token is None:
        loaded.pad_token = loaded.eos_token
    return loaded


def model(base: Base, dtype: str = "float32", **options: Any) -> Any:
    """The base as a transformers model, in `dtype`. Raises InputError if it can't be loaded."""
    with quiet():
        loaded = _loaded(base, _transformers().AutoModelForCausalLM, dtype=dtype, **options)
    if base.gguf:  # loading has unpacked it; from here on it is an ordinary model
        loaded.hf_quantizer, loaded.is_quantized = None, False
        if hasattr(loaded.config, "quantization_config"):
            del loaded.config.quantization_config
    return loaded


def dtype() -> str:
    """The type to load weights as: float32 on a CPU, bfloat16 on a GPU, float16 on a GPU without bfloat16."""
    import torch

    if not torch.cuda.is_available():
        return "float32"
    return "bfloat16" if torch.cuda.is_bf16_supported(including_emulation=False) else "float16"


def with_adapter(base: Base, model: Any, folder: Path) -> Any:
    """The loaded `base` with the PEFT adapter in `folder` on top of it.

    The adapter is in float32, whatever type the base has: merged into bfloat16 weights, most of it would be lost.
    Raises InputError if the folder holds no adapter for this base.
    """
    from peft import PeftModel

    noted = provenance.tables_in(folder / PROVENANCE).get("base", {})  # an adapter from elsewhere has no note
    compared = "digest" if noted.get("digest") and base.digest else "name"
    comparable = bool(noted.get("digest")) == bool(base.digest)  # a hub name has none, and may be the folder's model
    if noted and comparable and noted[compared] != getattr(base, compared):
        raise InputError(
            f"{folder} was tuned from {noted['name']}, not from this {base.name}: {base.gguf or base.where}"
        )
    if noted.get("chat") and base.chat and noted["chat"] != base.chat:
        raise InputError(
            f"{folder} was tuned when {base.where} had another tokenizer or chat template; put that back, or tune again"
        )
    try:
        with quiet():
            return PeftModel.from_pretrained(model, str(folder))
    except Exception as error:  # PEFT has no one class of error
        raise InputError(f"can't put the adapter {folder} on the base: {shorten(str(error), 300)}") from None


def out_of_memory(error: BaseException) -> bool:
    """Whether PyTorch reports too little memory. On a CPU, PyTorch has no error class for that."""
    import torch

    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)


def rounded(model: Any, dtype: str) -> Any:
    """The float32 `model` with its weights converted to `dtype`.

    Rounding to bfloat16 is stochastic: each weight goes to one of its two neighbours, more likely to the nearer one.
    Rounding to the nearest would lose small updates of weights that were bfloat16 before.
    """
    import numpy
    import torch

    if dtype != "bfloat16":
        return model.to(getattr(torch, dtype))
    chance = numpy.random.default_rng(0)
    for weight in model.parameters():
        if weight.dtype == torch.float32:
            weight.data = torch.from_numpy(dithered_bf16(weight.data.numpy(force=True), chance)).to(torch.bfloat16)
    return model.to(torch.bfloat16)


def _loaded(base: Base, kind: Any, **options: Any) -> Any:
    try:
        if not base.gguf:
            return kind.from_pretrained(base.where, **options)
        with tempfile.TemporaryDirectory() as empty:  # the file's folder may hold settings of other models
            return kind.from_pretrained(empty, gguf_file=str(base.gguf.resolve()), **options)
    except Exception as error:  # the library, the files, the network and the hub raise many kinds
        what = f"; is {base.gguf} a whole GGUF file, of a kind that transformers loads?" if base.gguf else ""
        raise InputError(f"can't load --base {base.name}: {shorten(str(error), 300)}{what}") from None


def _transformers() -> Any:
    try:
        import torch  # noqa: F401
        import transformers
    except ImportError:
        raise InputError(f"a model's tokens and weights need torch and transformers: {INSTALL}") from None
    if missing := [name for name in LIBRARIES if not find_spec(name)]:
        raise InputError(f"a model's tokens and weights need {missing[0]}: {INSTALL}")
    return transformers


def _digest(sha256s: Iterable[str]) -> str:
    """sha256 over the sha256 digests of files."""
    return hashlib.sha256(b"".join(map(bytes.fromhex, sha256s))).hexdigest()


def _sha256(file: Path) -> str:
    """Takes seconds for gigabytes. Raises InputError for an unreadable file."""
    try:
        return sha256(file)
    except OSError as error:
        raise InputError(f"can't read {file}: {error.strerror}") from None
