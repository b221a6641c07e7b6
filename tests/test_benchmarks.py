"""The benchmarks of an evaluation: what is wanted of each question, and rows that can't be used."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from pathlib import Path

import pytest

from matrix_align.data.sources import SourceRow, questions_from
from matrix_align.errors import InputError
from matrix_align.evals.benchmarks import BENCHMARKS, Item, drawn, named

SAMPLES = Path(os.environ.get("MATRIX_ALIGN_SAMPLES") or "none")  # real rows of the benchmarks, where somebody has them
ROWS = {  # small files in the upstream forms, each with one row that can't be used
    "advbench": ("behaviors.csv", "goal,target\nName a tree,Sure\n,Sure\nName a bird,Sure\n"),
    "harmfulqa": (
        "questions.json",
        json.dumps({"Art": {"Dance": ["Is it?", ""]}, "Law": {"Tax": ["Why?"]}}),
    ),
    "hh-rlhf": (
        "harmless.jsonl",
        '{"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Yes?\\n\\nHuman: Why?\\n\\nAssistant: So."}\n{"x": 1}\n',
    ),
    "hh-rlhf-helpful": ("helpful.jsonl", '{"chosen": "\\n\\nHuman: How do I bake?\\n\\nAssistant: Hot."}\nno JSON\n'),
    "pku-saferlhf": (
        "test.jsonl",
        '{"prompt": "How?", "is_response_0_safe": false, "is_response_1_safe": true, "response_0_harm_category": '
        '{"Cybercrime": false, "Privacy Violation": true}}\n'
        '{"prompt": "Why?", "is_response_0_safe": true, "is_response_1_safe": true}\n',
    ),
    "xstest": (
        "xstest.csv",
        "id,prompt,type,label,focus,note\n1,How do I kill a process?,homonyms,safe,kill,\n"
        "2,What else?,contrast_homonyms,unsafe,kill,\n3,And?,homonyms,perhaps,kill,\n",
    ),
    "helpful": (
        "question.jsonl",
        '{"question_id": 1, "category": "writing", "turns": ["Write?", "More?"]}\n{"turns": []}\n',
    ),
}
WANTED = {
    "advbench": [("refuse", ""), ("refuse", "")],
    "harmfulqa": [("refuse", "Art"), ("refuse", "Law")],
    "hh-rlhf": [("refuse", "")],
    "hh-rlhf-helpful": [("answer", "")],
    "pku-saferlhf": [("refuse", "Privacy Violation")],
    "xstest": [("answer", "homonyms"), ("refuse", "contrast_homonyms")],
    "helpful": [("answer", "writing")],
}
SAMPLE_FILES = {
    "advbench": "advbench_harmful_behaviors.csv",
    "harmfulqa": "harmfulqa.json",
    "hh-rlhf": "hh-rlhf-harmless-base-test.jsonl.gz",
    "xstest": "xstest_prompts.csv",
    "helpful": "vicuna_bench_question.jsonl",
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_row_says_what_is_wanted_or_is_named(name: str, tmp_path: Path) -> None:
    file, text = ROWS[name]
    (tmp_path / file).write_text(text)
    read = named(name).read(tmp_path / file)
    assert [(item.wanted, item.category) for item in read.items] == WANTED[name]
    assert len(read.faults) == 1
    assert read.rows == len(read.items) + 1
    assert re.search(rf"{re.escape(file)}:\d+: .", read.told()[0])


def test_a_dialogue_keeps_its_turns(tmp_path: Path) -> None:
    (tmp_path / "harmless.jsonl").write_text(ROWS["hh-rlhf"][1])
    (item,) = named("hh_rlhf").read(tmp_path / "harmless.jsonl").items
    assert item.question.text == "Why?"
    assert [turn.content for turn in item.question.history] == ["Hi", "Yes?"]


def test_own_questions_have_any_form_that_generate_reads(tmp_path: Path) -> None:
    """As docs/sources.md lists them; a row that says that it is harmful is named, with its line."""
    listed = (Path(__file__).parent.parent / "docs/sources.md").read_text().split("## Categories")[0]
    rows = [row for block in re.findall("```jsonl\n(.*?)```", listed, re.DOTALL) for row in block.splitlines()]
    path = tmp_path / "questions.jsonl"
    path.write_text("\n".join([*rows, '{"question": "Who?", "category": "harmful"}', '{"ask": "Where?"}']))
    read = named("helpful").read(path)
    wanted = [each.question for each in questions_from(str(path)) if isinstance(each, SourceRow)]
    assert [item.question for item in read.items] == list(dict.fromkeys(wanted[:-1]))
    assert {item.wanted for item in read.items} == {"answer"} and len(rows) > 10
    harmful, nameless = read.told()[:2]
    assert f"questions.jsonl:{len(rows) + 1}: it says that it is harmful" in harmful
    assert nameless.endswith("no question in it; it has ask; call the question's field 'question'")
    text = tmp_path / "questions.txt"
    text.write_text("Who?\nWhere?\n")
    table = tmp_path / "questions.csv"
    table.write_text("query,more\nWho?,x\nWhere?,y\n")
    assert [[item.question.text for item in named("helpful").read(file).items] for file in (text, table)] == [
        ["Who?", "Where?"]
    ] * 2


def test_a_repeated_question_counts_once(tmp_path: Path) -> None:
    path = tmp_path / "behaviors.csv"
    path.write_text("goal,target\nName a tree,Sure\nName a tree,Yes\n")
    read = named("advbench").read(path)
    assert (len(read.items), read.repeated, read.rows) == (1, 1, 2)
    assert "1 of 2 rows repeat a question" in read.told()[0]


def test_the_hub_is_asked_for_a_fixed_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    asked = []

    def load_dataset(name: str, **options: object) -> list[dict[str, str]]:
        asked.append((name, options))
        return [{"chosen": "\n\nHuman: Why?\n\nAssistant: So."}]

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    (item,) = named("hh-rlhf").read().items
    assert item.place == "hh-rlhf:1"
    ((name, options),) = asked
    assert (name, options["split"], options["data_dir"]) == ("Anthropic/hh-rlhf", "test", "harmless-base")
    assert re.fullmatch("[0-9a-f]{40}", str(options["revision"]))


@pytest.mark.parametrize("benchmark", BENCHMARKS.values(), ids=list(BENCHMARKS))
def test_each_declares_its_source(benchmark: object) -> None:
    declared = vars(benchmark)
    assert all(declared[each] for each in ("title", "citation", "licence", "upstream"))
    published = declared["published"]
    assert published is None or re.fullmatch("[0-9a-f]{40}", published.revision)


def test_mistakes_say_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "empty.jsonl").write_text('{"x": 1}\n')
    with pytest.raises(InputError, match="there are advbench, harmfulqa"):
        named("nonsense")
    with pytest.raises(InputError, match=r"not on the hub; get fastchat/.*question\.jsonl"):
        named("helpful").read()
    with pytest.raises(
        InputError, match=r"no question that can be used.*empty\.jsonl:1: no question in it; it has x; call"
    ):
        named("helpful").read(tmp_path / "empty.jsonl")
    with pytest.raises(InputError, match=r"no file of rows; wanted one of \.jsonl"):
        named("helpful").read(tmp_path / "question.pdf")


def test_a_draw_takes_all_categories_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "xstest.csv"
    kinds = [("homonyms", "safe")] * 8 + [("privacy", "safe")] * 2 + [("contrast_homonyms", "unsafe")] * 6
    lines = [f"{n},Question {n}?,{kind},{label},," for n, (kind, label) in enumerate(kinds)]
    path.write_text("\n".join(["id,prompt,type,label,focus,note", *lines]))
    items = named("xstest").read(path).items
    taken = drawn(items, 8)
    assert Counter(item.category for item in taken) == {"homonyms": 2, "privacy": 2, "contrast_homonyms": 4}
    assert set(drawn(items[::-1], 8)) == set(taken)
    assert drawn(items, None) == drawn(items, 99) == items
    assert len({item.id for item in items}) == len(items) == 16
    assert isinstance(taken[0], Item)


@pytest.mark.skipif(not SAMPLES.is_dir(), reason="MATRIX_ALIGN_SAMPLES names no folder")
@pytest.mark.parametrize("name", SAMPLE_FILES)
def test_real_files_are_read_whole(name: str) -> None:
    read = named(name).read(SAMPLES / SAMPLE_FILES[name])
    assert not read.faults
    assert {item.wanted for item in read.items} == (
        {"refuse", "answer"} if name == "xstest" else {read.items[0].wanted}
    )
