"""GGUF files of weights, read and written tensor by tensor.

Owns the copying: all metadata as it is, each tensor as it is or with other values. Knows neither models nor adapters.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

BASE = "matrix_align.base.sha256"

# The values of a tensor, or None where it stays as it is. Given are its name and a function that reads its values.
Change = Callable[[str, Callable[[], Any]], Any]


def rewrite(source: Path, made: Path, change: Change, to_q8: bool = False) -> None:
    """Writes `source` again as `made`, its tensors' values as `change` gives them: floating-point numbers in the type
    they had, quantised ones as Q8_0.

    With `to_q8` the file calls itself Q8_0, and values are rounded to the nearest. Without, they were changed a little,
    and rounded at random to either neighbour, the nearer the likelier: values that were on the very steps of Q8_0 or
    bfloat16 would all be rounded back to where they were.
    """
    import numpy
    from gguf import GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter, LlamaFileType, dequantize, quantize

    reader = GGUFReader(source)
    writer = GGUFWriter(made, str(reader.fields["general.architecture"].contents()))
    for name, field in reader.fields.items():
        if name.startswith("GGUF.") or name == "general.architecture" or (to_q8 and name == "general.file_type"):
            continue
        kind, *inner = field.types
        writer.add_key_value(name, field.contents(), kind, inner[-1] if kind == GGUFValueType.ARRAY else None)
    if to_q8:
        writer.add_file_type(LlamaFileType.MOSTLY_Q8_0)
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
            wanted = GGMLQuantizationType.Q8_0
            packed = quantize(values if to_q8 else _dithered(values, chance), wanted)
            writer.add_tensor(tensor.name, packed, raw_dtype=wanted)
    _finish(writer)


def _dithered(values: Any, chance: Any) -> Any:
    """Values that, once rounded to the nearest step of Q8_0 (1/127 of the largest in a block of 32), were rounded at
    random, to what they are on average (Schuchman 1964).
    """
    blocks = values.reshape(-1, 32)
    steps = abs(blocks).max(axis=1, keepdims=True) / 127
    return (blocks + steps * (chance.random(blocks.shape, dtype="float32") - 0.5)).reshape(values.shape)


def dithered_bf16(values: Any, chance: Any) -> Any:
    """The same for bfloat16, which is the upper half of a float32; what is bfloat16 already stays as it is."""
    import numpy

    bits = values.astype("float32").view("uint32") + chance.integers(0, 1 << 16, values.shape, dtype="uint32")
    return (bits & numpy.uint32(0xFFFF0000)).view("float32")


def write_adapter(made: Path, architecture: str, alpha: float, base: Path, tensors: Iterator[tuple[str, Any]]) -> None:
    """Writes a LoRA as llama.cpp loads it beside the model `base` (`adapter.lora.alpha` is divided by the rank there).

    It says which file that was, by digest: on other weights of the same shape it would load, and write nonsense.
    """
    from gguf import GGUFWriter

    writer = GGUFWriter(made, architecture)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", alpha)
    writer.add_string(BASE, sha256(base))
    for name, values in tensors:
        writer.add_tensor(name, values)
    _finish(writer)


def base_of(adapter: Path) -> str | None:
    """The digest of the base that an adapter is for, where it says so; not so in files that others wrote."""
    try:
        return described(adapter).get(BASE)
    except (ValueError, LookupError):  # no GGUF; llama.cpp says that better
        return None


def sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def described(gguf: Path) -> dict[str, Any]:
    """The file's metadata: plain values and short lists by key, `general.architecture` among them."""
    from gguf import GGUFReader

    fields = GGUFReader(gguf).fields
    return {name: field.contents() for name, field in fields.items() if len(field.data) <= 64}


def _finish(writer: Any) -> None:
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
