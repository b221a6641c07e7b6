"""What chat templates do to the text to learn from: whether it ends, and whether a server opens an answer likewise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("trl")

from matrix_align.errors import InputError
from matrix_align.tuning import base as bases
from matrix_align.tuning import template
from matrix_align.tuning.examples import Examples, examples
from matrix_align.tuning.train import Tuning, tune

from . import tiny

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("one_thread")]

TURN = "<|im_start|>{{ message['role'] }}\n{{ message['content'] }}"
OPENING = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
ENDLESS = "{% for message in messages %}" + TURN + "\n{% endfor %}" + OPENING  # as Alpaca's and many a base model's
BETWEEN = (  # ends every turn but the last
    "{% for message in messages %}" + TURN + "{% if not loop.last %}<|im_end|>{% endif %}{% endfor %}" + OPENING
)
WORDS = "{% for message in messages %}{{ message['role'] }}: {{ message['content'] | trim }}\n{% endfor %}"
THINKS = (  # Qwen3's: an empty thought before the answer that is learned
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if loop.last and message['role'] == 'assistant' %}<think>\n\n</think>\n\n{% endif %}"
    "{{ message['content'].split('</think>')[-1].lstrip('\n') }}<|im_end|>\n{% endfor %}" + OPENING
)
OPENS_A_THOUGHT = tiny.TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n")  # DeepSeek-R1's
OF_TWO_MINDS = tiny.TEMPLATE.replace("<|im_start|>assistant\n", "<|im_start|>assistant: ")
NONE_FOR_SYSTEM = (  # ends a turn, but not where there is a system turn
    "{% for message in messages %}"
    + TURN
    + "{% if messages[0]['role'] != 'system' %}<|im_end|>{% endif %}\n{% endfor %}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.write(tmp_path_factory.mktemp("tiny"))


@pytest.fixture
def tokenizer(folder: Path) -> Any:
    return bases.tokenizer(bases.named(str(folder)))


def rows_of(tokenizer: Any, path: Path) -> Examples:
    return examples(tiny.rows(path, 4), "sft", tokenizer, 1000, "drop")


@pytest.mark.parametrize("text", [ENDLESS, BETWEEN, WORDS])
def test_an_end_is_written_where_there_is_none(tokenizer: Any, text: str) -> None:
    """The end is written once, after the answer to learn. What a server gives the model does not change."""
    turns = tiny.row(1)["messages"]
    longer = [*turns, *turns]
    tokenizer.chat_template = text
    served = template.opened(tokenizer, longer[:-1])
    said = template.mend_end(tokenizer, "tiny")
    assert "marks no end of an answer; in this tuning, answers end in <|im_end|>" in said
    laid = template.laid_out(tokenizer, longer[:-1], longer[-1]["content"])
    assert laid.text[laid.end :].strip() == "<|im_end|>"
    assert template.opened(tokenizer, longer[:-1]) == served
    assert template.mend_end(tokenizer, "tiny") == "", "it is there now"


@pytest.mark.parametrize("text", [tiny.TEMPLATE, THINKS, OPENS_A_THOUGHT])
def test_an_end_that_is_there_stays(tokenizer: Any, text: str) -> None:
    tokenizer.chat_template = text
    assert template.mend_end(tokenizer, "tiny") == ""
    assert tokenizer.chat_template == text


def test_without_an_end_of_text_it_is_refused(tokenizer: Any) -> None:
    tokenizer.chat_template, tokenizer.eos_token = ENDLESS, None
    with pytest.raises(
        InputError, match=r"--base tiny: .* marks no end of an answer and its tokenizer has no eos_token"
    ):
        template.mend_end(tokenizer, "tiny")


def test_tuned_on_such_a_template_it_learns_to_stop(folder: Path, tmp_path: Path) -> None:
    """If the template writes no end, the tuned model is likelier to end an answer than the base."""
    import torch

    endless = tmp_path / "endless"
    tiny.write(endless)
    (endless / "chat_template.jinja").write_text(ENDLESS)
    config = tmp_path / "c.toml"
    config.write_text(
        "[sft]\nlearning_rate = 1e-2\nnum_train_epochs = 8\ngradient_accumulation_steps = 1\n"
        '[lora]\nr = 16\ntarget_modules = "all-linear"\n'
    )
    out = tmp_path / "out"
    tune(Tuning(tiny.rows(tmp_path / "sft.jsonl"), str(endless), out, config=config))
    base = bases.named(str(endless))
    tokenizer = bases.tokenizer(base)
    text = template.opened(tokenizer, tiny.row(1)["messages"][:1]) + tiny.row(1)["messages"][1]["content"] + "\n"
    ids = torch.tensor([template.tokens(tokenizer, text)])
    chances = {}
    for name, model in {"before": bases.model(base), "after": bases.with_adapter(base, bases.model(base), out)}.items():
        with torch.inference_mode():
            chances[name] = float(model.eval()(input_ids=ids).logits[0, -1].softmax(-1)[tokenizer.eos_token_id])
    assert chances["after"] > 2 * chances["before"]


@pytest.mark.parametrize("method", ["sft", "dpo"])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (OPENS_A_THOUGHT, r"opens an answer with '<think>\n' for a server, but not in the training text"),
        (OF_TWO_MINDS, "opens an answer with ': ' for a server"),
        (THINKS, r"writes '<think>\n\n</think>' before an answer, and the tuned model learns to; serve it with"),
    ],
)
def test_an_opening_unlike_the_servers_is_said_once(
    folder: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], text: str, words: str, method: str
) -> None:
    """We say it in one line for all rows. The trainer's own long warning is not shown too."""
    named = tiny.write(tmp_path / "tiny")
    (named / "chat_template.jinja").write_text(text)
    config = tmp_path / "c.toml"
    config.write_text(f"[{method}]\nmax_steps = 1\n")
    data = tiny.rows(tmp_path / "d.jsonl", 4) if method == "sft" else tiny.pairs(tmp_path / "d.jsonl", 4)
    tune(Tuning(data, str(named), tmp_path / "out", method=method, config=config))  # type: ignore[arg-type]
    lines = [line for line in capfd.readouterr().err.splitlines() if "chat template" in line or "prefix" in line]
    assert len(lines) == 1 and words in lines[0]


def test_an_opening_like_the_servers_is_not_mentioned(tokenizer: Any, tmp_path: Path) -> None:
    assert rows_of(tokenizer, tmp_path / "sft.jsonl").unlike == ""


def test_an_answer_about_thinking_keeps_its_words(tokenizer: Any, tmp_path: Path) -> None:
    """A row whose answer the template would cut is reported by file and line, and left out.

    The others are learned from.
    """
    path = tiny.rows(tmp_path / "sft.jsonl", 2)
    turns = [tiny.row(1)["messages"][0], {"role": "assistant", "content": "The mark is </think> and no other."}]
    with open(path, "a") as file:
        file.write(json.dumps({"messages": turns}) + "\n")
    tokenizer.chat_template = THINKS
    found = examples(path, "sft", tokenizer, 1000, "drop")
    assert len(found.rows) == 2
    assert found.faults == [f"{path}:3: the base's chat template changes the answer"]


def test_rows_that_a_template_does_not_end(tokenizer: Any, tmp_path: Path) -> None:
    """If it ends others, the row is reported by file and line."""
    path = tiny.rows(tmp_path / "sft.jsonl", 2)
    turns = [{"role": "system", "content": "Be brief."}, *tiny.row(2)["messages"]]
    with open(path, "a") as file:
        file.write(json.dumps({"messages": turns}) + "\n")
    tokenizer.chat_template = NONE_FOR_SYSTEM
    found = examples(path, "sft", tokenizer, 1000, "drop")
    assert len(found.rows) == 2
    assert found.faults == [f"{path}:3: the base's chat template writes no end of turn after the answer"]


def test_labels_without_an_end_are_refused(folder: Path, tmp_path: Path) -> None:
    """The check looks at the trainer's tokens. Here the settings name a template of their own."""
    (tmp_path / "own.jinja").write_text(WORDS)
    config = tmp_path / "c.toml"
    config.write_text(f'[sft]\nmax_steps = 1\nchat_template_path = "{tmp_path / "own.jinja"}"\n')
    with pytest.raises(InputError, match="12 of 12 rows hold no end of turn to learn"):
        tune(Tuning(tiny.rows(tmp_path / "sft.jsonl"), str(folder), tmp_path / "out", config=config))


def test_rows_that_are_cut_may_lack_their_ends(folder: Path, tmp_path: Path) -> None:
    config = tmp_path / "c.toml"
    config.write_text("[sft]\nmax_steps = 1\nmax_length = 70\n")
    data = tiny.rows(tmp_path / "sft.jsonl")
    assert tune(Tuning(data, str(folder), tmp_path / "out", config=config, too_long="cut"))["rows"] == 12
