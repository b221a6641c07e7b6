"""What --model may be, and which files of a repository are meant."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matrix_align import InputError
from matrix_align.llm.builtin import BUILTIN
from matrix_align.llm.choosing import chosen, stem
from matrix_align.llm.names import OnHub, parsed

REPO = "some.one/A-Model_2-GGUF"
DOWN = "some.one/A-Model_2-GGUF/resolve/v1%2F2/sub/a-Q8_0.gguf"


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        (f"hf:{REPO}", OnHub(REPO)),
        (f"hf://{REPO}", OnHub(REPO)),
        (f"hf:{REPO}:q8_0", OnHub(REPO, quant="q8_0")),
        (f"hf:{REPO}:Q8_0@v2", OnHub(REPO, quant="Q8_0", revision="v2")),
        (f"hf:{REPO}@refs/pr/1", OnHub(REPO, revision="refs/pr/1")),
        (f"hf:{REPO}:sub/a.gguf@v2", OnHub(REPO, "sub/a.gguf", revision="v2")),
        (f"hf.co/{REPO}", OnHub(REPO)),
        (f"hf.co/{REPO}:IQ4_XS", OnHub(REPO, quant="IQ4_XS")),
        (f"https://huggingface.co/{REPO}", OnHub(REPO)),
        (f"https://huggingface.co/{REPO}/blob/main/a.gguf", OnHub(REPO, "a.gguf")),
        (f"https://huggingface.co/{REPO}/resolve/main/a.gguf?download=true", OnHub(REPO, "a.gguf")),
        (f"https://huggingface.co/{REPO}/tree/v2/", OnHub(REPO, revision="v2")),
        (f"https://huggingface.co/{REPO}?show_file_info=sub%2Fa.gguf", OnHub(REPO, "sub/a.gguf")),
        (f"https://huggingface.co/{REPO}/tree/v2?show_file_info=a.gguf", OnHub(REPO, "a.gguf", revision="v2")),
        (f"https://huggingface.co/{REPO}?library=llama-cpp#use", OnHub(REPO)),
        (f"HTTPS://HuggingFace.co/{REPO}", OnHub(REPO)),
        (f"HF:{REPO}", OnHub(REPO)),
        (f"https://huggingface.co/{DOWN}", OnHub(REPO, "sub/a-Q8_0.gguf", revision="v1/2")),
        ("qwen2.5-coder-1.5b", BUILTIN["qwen2.5-coder-1.5b"]),
        ("Qwen2.5-Coder-0.5B", BUILTIN["qwen2.5-coder-0.5b"]),
        ("smollm2-135m", BUILTIN["smollm2-135m"]),
        ("models/a.gguf", Path("models/a.gguf")),
        ("hf/a.GGUF", Path("hf/a.GGUF")),
    ],
)
def test_forms(name: str, wanted: object) -> None:
    assert parsed(name) == wanted


@pytest.mark.parametrize(
    "name",
    [
        *("gpt-4", "hf:", "hf:owner", "hf:a/b/c", "hf:a/b:", "hf:a/b@", "hf:a/b:x.bin", "hf:a b/c", "a/b", ""),
        *(f"https://huggingface.co/{REPO}/blob/main/model.safetensors", "https://huggingface.co/models"),
        *(f"https://huggingface.co/{REPO}/tree/main/F16", f"https://huggingface.co/{REPO}?show_file_info=a.bin"),
    ],
)
def test_no_form(name: str) -> None:
    """The line names what it got and the forms there are."""
    with pytest.raises(InputError, match=r"hf:OWNER/REPO\[:QUANT") as error:
        parsed(name)
    assert name in str(error.value)


@given(st.text())
def test_whatever_is_typed(name: str) -> None:
    """It has a form or raises InputError, and what is shown of a name at the hub is a name of the same."""
    for typed in (name, f"hf:{name}", f"hf:a/b:{name}"):
        try:
            found = parsed(typed)
        except InputError:
            continue
        if isinstance(found, OnHub):
            assert parsed(str(found)) == found


FILES = [
    "README.md", "a-Q4_K_M.gguf", "a-q8_0.gguf", "a-UD-Q4_K_XL.gguf", "a.IQ4_XS.gguf", "A_f16.gguf",
    "mmproj-a-Q5_0.gguf", "BF16/a-BF16-00001-of-00002.gguf", "BF16/a-BF16-00002-of-00002.gguf",
]  # fmt: skip


@pytest.mark.parametrize(
    ("quant", "files"),
    [
        ("Q4_K_M", ["a-Q4_K_M.gguf"]),
        ("q4_k_m", ["a-Q4_K_M.gguf"]),
        ("Q8_0", ["a-q8_0.gguf"]),
        ("ud-q4_k_xl", ["a-UD-Q4_K_XL.gguf"]),
        ("IQ4_XS", ["a.IQ4_XS.gguf"]),
        ("F16", ["A_f16.gguf"]),
        ("bf16", ["BF16/a-BF16-00001-of-00002.gguf", "BF16/a-BF16-00002-of-00002.gguf"]),
    ],
)
def test_quant(quant: str, files: list[str]) -> None:
    assert chosen(FILES, OnHub("a/b", quant=quant)) == files


@pytest.mark.parametrize("quant", ["Q4_K", "Q4", "K_M", "Q5_0", "4_K_M", "Q4_K_XL"])
def test_quant_that_is_not_there(quant: str) -> None:
    """A part of a quant is none, nor is the projector's. The line lists those there are, each once."""
    with pytest.raises(InputError) as error:
        chosen(FILES, OnHub("a/b", quant=quant))
    assert str(error.value).endswith("there are f16, BF16, Q4_K_M, UD-Q4_K_XL, q8_0, IQ4_XS")


def test_files() -> None:
    """By any of its parts a split model is fetched whole."""
    parts = [file for file in FILES if file.startswith("BF16")]
    assert chosen(FILES, OnHub("a/b", parts[1])) == parts
    assert stem(parts[0]) == "a-BF16"
    for wanted, files, words in (
        (OnHub("a/b", "b.gguf"), FILES, "no such file .* a-Q4_K_M.gguf"),
        (OnHub("a/b", "mmproj-a-Q5_0.gguf"), FILES, "no such file of a language model"),
        (OnHub("a/b", quant="BF16"), FILES[:-1], "a-BF16-00002-of-00002.gguf is missing"),
        (OnHub("a/b"), ["mmproj-Q4_K_M.gguf", "a.bin"], "holds no GGUF file of a language model"),
        (OnHub("a/b"), ["a-Q4_K_M.gguf", "b-Q4_K_M.gguf"], "any of a-Q4_K_M.gguf, b-Q4_K_M.gguf; give hf:a/b:FILE"),
        (OnHub("a/b"), ["plain.gguf"], "there are plain.gguf"),
    ):
        with pytest.raises(InputError, match=words):
            chosen(files, wanted)
