"""export: the training data made from a run, read back with `datasets` and accepted by TRL."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from matrix_align import Endpoint
from matrix_align.data.preferences import preference_of
from matrix_align.data.refusal import refuses
from matrix_align.data.sources import questions_from
from matrix_align.generate.run import Run
from matrix_align.generate.schedule import generate
from matrix_align.llm.pool import Server, Tally
from matrix_align.tuning.base import named, tokenizer
from matrix_align.tuning.examples import examples, limit_of

from .conftest import SMALL, matrix
from .conftest import Run as Cli
from .fake import FakeServer, completion
from .tiny import write

HELPFUL, HARMFUL = 12, 8


@pytest.fixture
async def run(server: FakeServer, tmp_path: Path) -> Path:
    """Scenes of helpful and harmful questions. For every fourth, the answer stays the initial response."""

    def answers(body: dict[str, Any]) -> str:
        return f"Revised: {body['seed']}." if "<effects>" in str(body) else f"Initial: {body['seed']}."

    def aftermaths(body: dict[str, Any]) -> Any:
        found = server.default(body)
        if any(f"number {number}?" in str(body) for number in range(0, 20, 4)):
            found["missing"] = ""
            found["fates"] = [fate | {"harm": "none"} for fate in found["fates"]]
        return found

    server.on |= {"text": answers, "Aftermath": aftermaths}
    folder = tmp_path / "run"
    with Run(folder, matrix(), "fake-model") as made:
        for kind, numbers in (("helpful", range(HELPFUL)), ("harmful", range(HELPFUL, HELPFUL + HARMFUL))):
            source = tmp_path / f"{kind}.txt"
            source.write_text("".join(f"Question number {number}?\n" for number in numbers))
            made.inputs.take([questions_from(str(source), category="helpful" if kind == "helpful" else "harmful")])
        async with Endpoint(server.url, "fake-model") as endpoint:
            await generate(made, [Server(endpoint, tally := Tally())], tally)
    return folder


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def asked(row: Any) -> str:
    """The question that a row is about. For a simulation row, its prompt, which may hold the question."""
    return str((row.get("messages") or row.get("prompt"))[0]["content"])


def exported(cli: Cli, run: Path, *args: str) -> dict[str, dict[str, int]]:
    done = cli("export", str(run), *args, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, dict[str, int]] = json.loads(done.stdout)
    return found


def test_sft(cli: Cli, run: Path, tmp_path: Path) -> None:
    told = exported(cli, run, "--out", str(tmp_path / "out/sft.jsonl"))
    assert told == {"train": {"rows": 20, "helpful": 12, "harmful": 8}}
    rows = lines(tmp_path / "out/sft.jsonl")
    assert [turn["role"] for turn in rows[0]["messages"]] == ["user", "assistant"]
    assert {asked(row) for row in rows} == {f"Question number {number}?" for number in range(20)}
    texts = Counter(row["messages"][-1]["content"].split(":")[0] for row in rows)
    assert texts == {"Revised": 15, "Initial": 5}, (
        "the revised response, which is the initial one where nothing was wrong"
    )


def test_dpo_has_only_pairs_that_differ(cli: Cli, run: Path, tmp_path: Path) -> None:
    assert exported(cli, run, "--out", str(tmp_path / "dpo.jsonl"), "--format", "dpo")["train"]["rows"] == 15
    for row in lines(tmp_path / "dpo.jsonl"):
        assert preference_of(row).chosen == row["chosen"][0]["content"], "measure and tune read what export writes"
        assert row["chosen"][0]["content"].startswith("Revised")
        assert row["rejected"][0]["content"].startswith("Initial")


def test_sharegpt(cli: Cli, run: Path, tmp_path: Path) -> None:
    exported(cli, run, "--out", str(tmp_path / "chat.jsonl"), "--format", "sharegpt")
    assert [turn["from"] for turn in lines(tmp_path / "chat.jsonl")[0]["conversations"]] == ["human", "gpt"]


def test_sharegpt_for_fastchat(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """FastChat's trainer wants one JSON list, rows with an id, and turns of only two speakers."""
    source = tmp_path / "one.jsonl"
    source.write_text('{"question": "How?", "system": "Be kind."}\n{"question": "Why?"}\n')
    made = ("generate", str(source), "--out", str(tmp_path / "run"), "--roles", "2", "--steps", "1")
    assert cli(*made, "--endpoint", server.url).returncode == 0
    exported(cli, tmp_path / "run", "--out", str(tmp_path / "chat.json"), "--format", "sharegpt")
    rows = json.loads((tmp_path / "chat.json").read_text())
    assert [row["id"] for row in rows] == ["0", "1"]
    assert [[turn["from"] for turn in row["conversations"]] for row in rows] == [["human", "gpt"]] * 2
    assert rows[0]["conversations"][0]["value"] == "Be kind.\n\nHow?"


def test_mix_is_balanced_and_says_what_it_took(cli: Cli, run: Path, tmp_path: Path) -> None:
    """The scarcest kind decides how many rows of each are taken. Simulation rows are the scenes' own calls."""
    out = ("--out", str(tmp_path / "mix.jsonl"), "--mix", "helpful=1,harmful=1,simulation=2")
    train = exported(cli, run, *out)["train"]
    assert train.pop("left_out")
    assert train == {"rows": 32, "helpful": 8, "harmful": 8, "simulation": 16}
    first = (tmp_path / "mix.jsonl").read_bytes()
    exported(cli, run, *out)
    assert (tmp_path / "mix.jsonl").read_bytes() == first
    exported(cli, run, *out, "--seed", "1")
    assert (tmp_path / "mix.jsonl").read_bytes() != first
    simulated = [row for row in lines(tmp_path / "mix.jsonl") if not asked(row).startswith("Question")]
    assert len(simulated) == 16 and all(row["messages"][-1]["content"].startswith("{") for row in simulated)


def test_split_is_by_question(cli: Cli, run: Path, tmp_path: Path) -> None:
    """No question has rows on both sides, not even simulation rows."""
    told = exported(cli, run, "--out", str(tmp_path / "a.jsonl"), "--mix", "helpful=1,simulation=9", "--test", "0.3")
    assert told["train"]["rows"] and told["test"]["rows"]
    sides = [
        {n for n in range(20) for row in lines(tmp_path / name) if f"number {n}?" in json.dumps(row)}
        for name in ("a.jsonl", "a-test.jsonl")
    ]
    assert sides[0] and sides[1] and not sides[0] & sides[1]


def test_whole_scenes(cli: Cli, run: Path, tmp_path: Path) -> None:
    exported(cli, run, "--out", str(tmp_path / "scenes.jsonl"), "--format", "scenes")
    row = lines(tmp_path / "scenes.jsonl")[0]
    assert row["revised"] and row["category"] == "helpful"
    answer = json.loads(row["answer"])
    assert answer["scene"]["events"] and answer["scene"]["cast"]["roles"] and answer["calls"]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--out", "a.txt"), ".jsonl or .parquet"),
        (("--out", "a.json"), ".json for sharegpt"),
        (("--out", "a.jsonl", "--mix", "nice=1"), "helpful=1,harmful=1,simulation=1"),
        (("--out", "a.jsonl", "--mix", "helpful=0"), "takes nothing"),
        (("--out", "a.jsonl", "--mix", "helpful=inf"), "helpful=1,harmful=1,simulation=1"),
        (("--out", "a.jsonl", "--mix", "helpful"), "helpful=1,harmful=1,simulation=1"),
        (("--out", "a.jsonl", "--mix", "helpful=1,simulation=1", "--format", "dpo"), "sft or sharegpt"),
        (("--out", "a.jsonl", "--mix", "simulation=1", "--format", "scenes"), "sft or sharegpt"),
        (("--out", "/proc/nowhere/a.jsonl"), "can't write"),
        (("--out", "a.jsonl", "--format", "csv"), "--format"),
        (("--out", "a.jsonl", "--base", "a/b"), "--max-length"),
    ],
)
def test_bad_options(cli: Cli, run: Path, args: tuple[str, ...], words: str) -> None:
    told = cli("export", str(run), *args)
    assert told.returncode == 2 and words in told.stderr and told.stderr.count("\n") == 1


def test_readme_of_somebody_else_is_kept(cli: Cli, run: Path, tmp_path: Path) -> None:
    (tmp_path / "README.md").write_text("# My project\n")
    told = cli("export", str(run), "--out", str(tmp_path / "a.jsonl"))
    assert told.returncode == 2 and "--out a folder of its own" in told.stderr
    assert (tmp_path / "README.md").read_text() == "# My project\n"


def test_other_files_are_kept(cli: Cli, run: Path, tmp_path: Path) -> None:
    """Files that are not ours are not overwritten. An earlier test file does not stay beside an export without one."""
    (tmp_path / "mine.jsonl").write_text("mine")
    told = cli("export", str(run), "--out", str(tmp_path / "mine.jsonl"))
    assert told.returncode == 2 and "overwritten" in told.stderr
    assert (tmp_path / "mine.jsonl").read_text() == "mine"
    out = ("--out", str(tmp_path / "data/sft.jsonl"))
    exported(cli, run, *out, "--test", "0.3")
    assert (tmp_path / "data/sft-test.jsonl").exists()
    exported(cli, run, *out)
    assert not (tmp_path / "data/sft-test.jsonl").exists()
    told = cli("export", str(run), "--out", str(tmp_path / "data/dpo.jsonl"), "--format", "dpo")
    assert told.returncode == 2 and "a folder of its own" in told.stderr


def test_answers_that_were_cut_off(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    """A cut answer ends with its last whole sentence, or is left out. The card reports both."""

    def text(body: dict[str, Any]) -> Any:
        revises = "<effects>" in str(body)
        said = "no sentence at all" if "Two?" in str(body) else "First this. Then that." if revises else "Once. And"
        return completion(f"{said} And so", "length")

    server.on["text"] = text
    source = tmp_path / "questions.txt"
    source.write_text("One?\nTwo?\n")
    made = ("generate", str(source), "--out", str(tmp_path / "run"), "--roles", "2", "--steps", "1")
    assert cli(*made, "--endpoint", server.url).returncode == 0
    told = cli("export", str(tmp_path / "run"), "--out", str(tmp_path / "sft/a.jsonl"))
    assert "left out 1: no whole sentence in the answer" in told.stderr
    [row] = lines(tmp_path / "sft/a.jsonl")
    assert row["messages"][-1]["content"] == "First this. Then that."
    assert "1 answers had reached the longest length" in (tmp_path / "sft/README.md").read_text()
    exported(cli, tmp_path / "run", "--out", str(tmp_path / "dpo/a.jsonl"), "--format", "dpo")
    [pair] = lines(tmp_path / "dpo/a.jsonl")
    assert (pair["chosen"][0]["content"], pair["rejected"][0]["content"]) == ("First this. Then that.", "Once.")


def test_nothing_to_export(cli: Cli, tmp_path: Path) -> None:
    told = cli("export", str(tmp_path), "--out", str(tmp_path / "a.jsonl"))
    assert told.returncode == 2 and "generate" in told.stderr
    assert not (tmp_path / "record.db").exists()


def test_card(cli: Cli, run: Path, tmp_path: Path) -> None:
    exported(cli, run, "--out", str(tmp_path / "data/sft.jsonl"), "--test", "0.3")
    card = (tmp_path / "data/README.md").read_text()
    for words in (
        "path: sft.jsonl",
        "path: sft-test.jsonl",
        "helpful.txt",
        "harmful.txt",
        "fake-model",
        "settings: roles = 2",
        "refusals",
    ):
        assert words in card


def test_refusals_are_counted_in_the_card(cli: Cli, server: FakeServer, questions: Path, tmp_path: Path) -> None:
    refusing = iter(range(12))
    server.on["text"] = lambda body: "I can't help with that." if next(refusing) < 5 else "Dig a hole first."
    made = ("generate", str(questions), "--method", "vanilla", "--out", str(tmp_path / "run"), "--endpoint", server.url)
    assert cli(*made).returncode == 0
    exported(cli, tmp_path / "run", "--out", str(tmp_path / "out/a.jsonl"))
    [row] = [line for line in (tmp_path / "out/README.md").read_text().splitlines() if line.startswith("| train |")]
    assert row.endswith("| 5 |")


def test_refusals() -> None:
    for refusal in (
        "I'm sorry, but I can't help with that.",
        "I cannot assist with this.",
        "As an AI, I must decline.",
        "No. I refuse to help with that.",
        "Sorry, but that\u2019s something that can\u2019t be provided here.",
    ):
        assert refuses(refusal)
    for answer in (
        "Plant it in autumn.",
        "Say that you are sorry.",
        "I\u2019m so sorry to hear that. Losing a job is hard.",
        "I can't wait to help you plan this!",
        "I won't lie, this is easy.",
        "Sure. " * 50 + "I can't say more.",
    ):
        assert not refuses(answer)


# What the files are for. -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", ["jsonl", "parquet"])
@pytest.mark.parametrize("format", ["sft", "dpo", "sharegpt", "scenes"])
def test_datasets_reads_the_folder(cli: Cli, run: Path, tmp_path: Path, format: str, suffix: str) -> None:
    datasets = pytest.importorskip("datasets")
    out = tmp_path / "data"
    exported(cli, run, "--out", str(out / f"{format}.{suffix}"), "--format", format, "--test", "0.3")
    loaded = datasets.load_dataset(str(out), cache_dir=str(tmp_path / "cache"))
    assert set(loaded) == {"train", "test"}
    assert loaded["train"].num_rows + loaded["test"].num_rows == (15 if format == "dpo" else 20)
    columns = {"sft": {"messages"}, "dpo": {"prompt", "chosen", "rejected"}, "sharegpt": {"conversations"}}
    assert columns.get(format, {"id"}) <= set(loaded["train"].column_names)


def test_trl_formats_the_rows(cli: Cli, run: Path, tmp_path: Path) -> None:
    """TRL accepts SFT and DPO rows as conversations, and applies a chat template to them."""
    pytest.importorskip("trl")
    from trl.data_utils import apply_chat_template, is_conversational

    class Tokenizer:
        """As much of a tokenizer as TRL needs. It fills in the template by hand."""

        def apply_chat_template(self, conversation: Any, **_: Any) -> str:
            said = "".join(f"<{turn['role']}>{turn['content']}" for turn in conversation)
            return said + ("<assistant>" if _.get("add_generation_prompt") else "")

    for format in ("sft", "dpo"):
        exported(cli, run, "--out", str(tmp_path / format / "rows.jsonl"), "--format", format)
        for row in lines(tmp_path / format / "rows.jsonl"):
            assert is_conversational(row)
            text = apply_chat_template(row, Tokenizer())
            assert set(text) == ({"text"} if format == "sft" else {"prompt", "chosen", "rejected"})


def test_mix_survives_the_limit_of_the_tuning(cli: Cli, run: Path, tmp_path: Path) -> None:
    """Rows too long for the tuning are left out, with a message, before the mix is made. The tuning then drops none."""
    base, mix = str(write(tmp_path / "base")), ("--mix", "helpful=1,simulation=1")
    everything = exported(cli, run, "--out", str(tmp_path / "all/sft.jsonl"), *mix)["train"]
    assert (everything["rows"], everything["helpful"], everything["simulation"]) == (24, 12, 12)
    length = limit_of(base, 1).length
    simulated = [row for row in lines(tmp_path / "all/sft.jsonl") if not asked(row).startswith("Question")]
    longest = max(length(row["messages"]) for row in simulated)
    limit = str(min(length(row["messages"]) for row in simulated))
    out = ("--out", str(tmp_path / "data/sft.jsonl"), *mix, "--max-length", limit, "--base", base)
    train = exported(cli, run, *out)["train"]
    assert int(limit) < longest and 0 < train["helpful"] == train["simulation"] <= 12
    why = f"longer than {int(limit):,} tokens of base"
    assert why in train["left_out"]  # type: ignore[operator]
    assert why in (tmp_path / "data/README.md").read_text()
    found = examples(tmp_path / "data/sft.jsonl", "sft", tokenizer(named(base)), int(limit), "drop")
    assert (len(found.rows), found.dropped, found.cut) == (train["rows"], 0, 0)


def test_nothing_fits(cli: Cli, run: Path, tmp_path: Path) -> None:
    base = str(write(tmp_path / "base"))
    told = cli("export", str(run), "--out", str(tmp_path / "a/b.jsonl"), "--max-length", "1", "--base", base)
    assert told.returncode == 2 and "longer than 1 tokens of base" in told.stderr


def test_answer_that_a_filter_has_cut_is_never_exported(cli: Cli, server: FakeServer, tmp_path: Path) -> None:
    server.on["text"] = lambda body: (
        completion("Half of an. answer", "content_filter") if "Two?" in str(body) else "Yes."
    )
    source = tmp_path / "questions.txt"
    source.write_text("One?\nTwo?\n")
    made = ("generate", str(source), "--out", str(tmp_path / "run"), "--method", "vanilla", "--endpoint", server.url)
    assert cli(*made).returncode == 0
    told = exported(cli, tmp_path / "run", "--out", str(tmp_path / "sft/a.jsonl"))["train"]
    assert told == {"rows": 1, "uncategorised": 1, "left_out": {"the answer was cut by a content filter": 1}}


def test_calls_behind_an_answer_that_a_filter_has_cut_are_never_exported(
    cli: Cli, server: FakeServer, tmp_path: Path
) -> None:
    server.on["text"] = lambda body: completion("Half. an", "content_filter") if "Two?" in str(body) else "Yes."
    (tmp_path / "questions.txt").write_text("One?\nTwo?\n")
    made = (
        "generate",
        str(tmp_path / "questions.txt"),
        "--category",
        "helpful",
        "--out",
        str(tmp_path / "run"),
        *SMALL,
    )
    assert cli(*made, "--endpoint", server.url).returncode == 0
    out = tmp_path / "sft/a.jsonl"
    assert exported(cli, tmp_path / "run", "--out", str(out), "--mix", "helpful=1,simulation=9")["train"]["rows"] == 10
    assert "One?" in out.read_text() and "Two?" not in out.read_text()


OF_0_1 = (
    "---\ntags: [matrix-align, self-alignment, social-simulation]\nconfigs:\n- config_name: default\n  data_files:\n"
    '  - split: train\n    path: "sft.jsonl"\n---\n\n# sft\n'
)


@pytest.mark.parametrize(
    ("readme", "is_ours"),
    [
        (OF_0_1, True),
        (OF_0_1.replace("sft.jsonl", "other.jsonl"), False),
        (OF_0_1.replace("matrix-align", "theirs"), False),
        (OF_0_1.replace("tags:", "tags: ]"), False),
        (OF_0_1.replace("---\n\n", "\n\n"), False),
        ("---\n- a list\n---\n", False),
        ("# matrix-align: sft.jsonl\n", False),
    ],
)
def test_a_card_is_ours_or_not(cli: Cli, run: Path, tmp_path: Path, readme: str, is_ours: bool) -> None:
    """An export of version 0.1 is written again. Beside any other README.md, the files stay as they are."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data/README.md").write_text(readme)
    (tmp_path / "data/sft.jsonl").write_text("{}\n")
    done = cli("export", str(run), "--out", str(tmp_path / "data/sft.jsonl"))
    assert (done.returncode == 0) == is_ours, done.stderr
    assert ((tmp_path / "data/sft.jsonl").read_text() == "{}\n") != is_ours
    assert ((tmp_path / "data/README.md").read_text() == readme) != is_ours


@pytest.mark.parametrize("name", ["yes", "a: b #1", "tö 'x' \"y\""])
def test_a_card_names_any_file(cli: Cli, run: Path, tmp_path: Path, name: str) -> None:
    """So the same export finds its own files again."""
    for _ in range(2):
        exported(cli, run, "--out", str(tmp_path / f"data/{name}.jsonl"))
