"""GGUF files of weights, read and written tensor by tensor.

Owns the copying: metadata is copied unchanged, and each tensor is copied unchanged or with new values. Knows no model
and no tuning.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from .builtin import Quantisation

BASE = "matrix_align.base.sha256"
OUTER = ("token_embd.weight", "output.weight")

# Given a tensor's name and a function that reads its values: the new values, or None to leave the tensor unchanged.
Change = Callable[[str, Callable[[], Any]], Any]


def rewrite(source: Path, made: Path, change: Change, to: Quantisation = "") -> None:
    """Copies `source` to `made` with the values that `change` returns.

    A changed tensor of floating-point numbers keeps its type; a changed quantised tensor becomes Q8_0. With `to` it
    becomes that, the file's metadata say so, and values are rounded to the nearest step. The embedding and the output
    are Q8_0 in any case: with fewer bits there, a small model loses most.

    Without `to` the values are taken to be small changes of what was there, and are rounded at random to one of the
    two steps next to them, the nearer step being the likelier one. Rounding to the nearest would undo the change:
    the old values are steps themselves, and most changes are smaller than half a step.
    """
    import numpy
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, dequantize, quantize

    reader = GGUFReader(source)
    writer = GGUFWriter(made, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or (to and name == "general.file_type"):
            continue
        kind, *inner = field.types
        writer.add_key_value(name, field.contents(), kind, inner[-1] if kind == GGUFValueType.ARRAY else None)
    if to:
        writer.add_file_type(LlamaFileType[f"MOSTLY_{to}"])
    chance = numpy.random.default_rng(0)
    plain = {GGMLQuantizationType.F32: "float32", GGMLQuantizationType.F16: "float16"}
    for tensor in reader.tensors:
        kind = tensor.tensor_type
        values = change(tensor.name, partial(dequantize, tensor.data, kind))
        if values is None:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=kind)
        elif kind in plain:
            writer.add_tensor(tensor.name, values.astype(plain[kind]))
        elif kind == GGMLQuantizationType.BF16:
            writer.add_tensor(tensor.name, quantize(dithered_bf16(values, chance), kind), raw_dtype=kind)
        else:
            wanted = GGMLQuantizationType["Q8_0" if tensor.name in OUTER else to or "Q8_0"]
            packed = quantize(values if to else _dithered(values, chance), wanted)
            writer.add_tensor(tensor.name, packed, raw_dtype=wanted)
    _finish(writer)


def _dithered(values: Any, chance: Any) -> Any:
    """`values` with noise, so that rounding them to the nearest step of Q8_0 keeps their mean (Schuchman 1964).

    A step of Q8_0 is 1/127 of the largest value in a block of 32.
    """
    blocks = values.reshape(-1, 32)
    steps = abs(blocks).max(axis=1, keepdims=True) / 127
    return (blocks + steps * (chance.random(blocks.shape, dtype="float32") - 0.5)).reshape(values.shape)


def dithered_bf16(values: Any, chance: Any) -> Any:
    """`values` rounded at random to bfloat16, the upper half of a float32. A value that is bfloat16 already stays."""
    import numpy

    bits = values.astype("float32").view("uint32") + chance.integers(0, 1 << 16, values.shape, dtype="uint32")
    return (bits & numpy.uint32(0xFFFF0000)).view("float32")


def write_adapter(made: Path, architecture: str, alpha: float, base: str, tensors: Iterator[tuple[str, Any]]) -> None:
    """Writes a LoRA in the form that llama.cpp loads beside its base. llama.cpp divides `alpha` by the rank.

    The file holds `base`, the sha256 of the base's file. Without it, the adapter would load on other weights of the
    same shape and produce nonsense.
    """
    from gguf import GGUFWriter

    writer = GGUFWriter(made, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_string(BASE, base)
    for name, values in tensors:
        writer.add_tensor(name, values)
    _finish(writer)


def base_of(adapter: Path) -> str | None:
    """The digest of the base that the adapter was made for; None if the file does not say."""
    try:
        return described(adapter).get(BASE)
    except (ValueError, LookupError):  # not a GGUF file; llama.cpp reports that better
        return None


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(gguf: Path) -> dict[str, Any]:
    """The file's metadata by key, such as `general.architecture`: single values and lists of at most 64."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    return {name: field.contents() for name, field in fields.items() if len(field.data) <= 64}


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
