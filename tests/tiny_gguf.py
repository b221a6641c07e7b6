"""GGUF files of random weights in K-quants, small enough to serve, and to load with transformers in a second.

K-quants are blocks of 256 values. No library here packs them. Any bytes are valid, so the weights are random bytes,
scaled to the size of a trained model's weights.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy
from gguf import GGMLQuantizationType, GGUFWriter, TokenType

from . import tiny

HIDDEN, INNER, LAYERS, HEADS, KEY_HEADS = 256, 512, 2, 4, 2


def write(path: Path, architecture: str, tied: bool = False) -> Path:
    """Writes a model of `architecture` (llama, qwen2 or qwen3), with tokens for single bytes and tiny.TEMPLATE.

    A `tied` one has no output matrix of its own, but uses that of the embedding, as small models do.
    """
    chance = numpy.random.default_rng(3)
    head = 128 if architecture == "qwen3" else HIDDEN // HEADS  # all that transformers takes
    writer = GGUFWriter(path, architecture)
    writer.add_block_count(LAYERS)
    writer.add_context_length(4096)
    writer.add_embedding_length(HIDDEN)
    writer.add_feed_forward_length(INNER)
    writer.add_head_count(HEADS)
    writer.add_head_count_kv(KEY_HEADS)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    count = _write_tokenizer(writer)
    if architecture == "llama":
        writer.add_rope_dimension_count(head)
        writer.add_vocab_size(count)

    def matrix(name: str, rows: int, columns: int, kind: GGMLQuantizationType, size: float = 0.06) -> None:
        pack = _q4_k if kind == GGMLQuantizationType.Q4_K else _q6_k
        writer.add_tensor(f"{name}.weight", pack(chance, rows, columns, size), raw_dtype=kind)

    def vector(name: str, length: int, middle: float) -> None:
        writer.add_tensor(name, (middle + 0.1 * chance.standard_normal(length)).astype("float32"))

    q4, q6 = GGMLQuantizationType.Q4_K, GGMLQuantizationType.Q6_K
    matrix("token_embd", count, HIDDEN, q4, 0.3 if tied else 0.06)
    for block in (f"blk.{number}" for number in range(LAYERS)):
        vector(f"{block}.attn_norm.weight", HIDDEN, 1.0)
        vector(f"{block}.ffn_norm.weight", HIDDEN, 1.0)
        for name, rows, kind in (("q", HEADS * head, q4), ("k", KEY_HEADS * head, q4), ("v", KEY_HEADS * head, q6)):
            matrix(f"{block}.attn_{name}", rows, HIDDEN, kind)
            if architecture == "qwen2":
                vector(f"{block}.attn_{name}.bias", rows, 0.0)
        if architecture == "qwen3":
            vector(f"{block}.attn_q_norm.weight", head, 1.0)
            vector(f"{block}.attn_k_norm.weight", head, 1.0)
        matrix(f"{block}.attn_output", HIDDEN, HEADS * head, q4)
        matrix(f"{block}.ffn_gate", INNER, HIDDEN, q4)
        matrix(f"{block}.ffn_up", INNER, HIDDEN, q4)
        matrix(f"{block}.ffn_down", HIDDEN, INNER, q6)
    vector("output_norm.weight", HIDDEN, 1.0)
    if not tied:
        matrix("output", count, HIDDEN, q6, 0.3)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _write_tokenizer(writer: GGUFWriter) -> int:
    """One token a byte, one merge, as an empty list can't be written, and the signs of the template."""
    from tokenizers import pre_tokenizers

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    special = ["<|im_start|>", "<|im_end|>"]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("qwen2")
    tokens = [*letters, "th", *special]
    writer.add_token_list(tokens)
    kinds = [TokenType.NORMAL] * (len(letters) + 1) + [TokenType.CONTROL] * len(special)
    writer.add_token_types(kinds)
    writer.add_token_merges(["t h"])
    writer.add_eos_token_id(tokens.index("<|im_end|>"))
    writer.add_pad_token_id(tokens.index("<|im_end|>"))
    writer.add_bos_token_id(tokens.index("<|im_start|>"))
    writer.add_add_bos_token(False)
    writer.add_chat_template(tiny.TEMPLATE)
    return len(tokens)


def _q4_k(chance: numpy.random.Generator, rows: int, columns: int, size: float) -> Any:
    """Rows of Q4_K: two scales in float16, twelve bytes of 6-bit scales and minima, 128 bytes of 4-bit values."""
    blocks = rows * columns // 256
    scale = size / (4.6 * 32)  # of 4-bit values times a 6-bit scale, whose mean 7.5 * 32 the minima take away
    head = numpy.tile(numpy.array([scale, 7.5 * scale], dtype="float16").view("uint8"), (blocks, 1))
    packed = numpy.concatenate([head, chance.integers(0, 256, (blocks, 140), dtype="uint8")], axis=1)
    return packed.reshape(rows, columns // 256 * 144)


def _q6_k(chance: numpy.random.Generator, rows: int, columns: int, size: float) -> Any:
    """Rows of Q6_K: 192 bytes of 6-bit values, sixteen signed scales, one scale in float16."""
    blocks = rows * columns // 256
    tail = numpy.tile(numpy.array([size / (18.5 * 74)], dtype="float16").view("uint8"), (blocks, 1))
    packed = numpy.concatenate([chance.integers(0, 256, (blocks, 208), dtype="uint8"), tail], axis=1)
    return packed.reshape(rows, columns // 256 * 210)
