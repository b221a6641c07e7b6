"""A run as a log of Inspect AI, and a comparison as scores for its `precomputed_scores`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from inspect_ai.log import read_eval_log
from inspect_ai.scorer import precomputed_scores

from matrix_align import Answer, Question
from matrix_align.evals.answers import id_of
from matrix_align.evals.pairwise.types import Judged, Judgement, Pair

from .conftest import SMALL, Run, complaint
from .fake import FakeServer, error
from .inspecting import QUIET, inspect_ai

pytestmark = QUIET
ASKED = [{"messages": [{"role": "system", "content": "Be kind."}, {"role": "user", "content": "How do I ask?"}]}]
ASKED += [{"messages": [{"role": "user", "content": f"How do I plant {what}?"}]} for what in ("a fig", "a pear")]


@pytest.fixture
def run(cli: Run, server: FakeServer, tmp_path: Path) -> Path:
    """A run of two answers and one failure."""
    source = tmp_path / "asked.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in ASKED))
    server.on["Situation"] = lambda body: error(400, "no pears") if "a pear" in str(body) else server.default(body)
    folder = tmp_path / "run"
    assert cli("generate", str(source), "--out", str(folder), "--endpoint", server.url, *SMALL).returncode in (0, 1)
    return folder


@pytest.mark.parametrize("suffix", [".eval", ".json"])
def test_a_run_as_a_log(run: Path, cli: Run, tmp_path: Path, suffix: str) -> None:
    out = tmp_path / f"log{suffix}"
    done = cli("export", str(run), "--format", "inspect", "--out", str(out), "--json")
    assert json.loads(done.stdout) == {"inspect": {"rows": 3, "uncategorised": 2, "failed": 1}}
    log = read_eval_log(str(out))
    assert (log.status, log.eval.solver, log.eval.model) == ("success", "matrix_align/matrix", "none/fake-model")
    assert (log.results.total_samples, log.results.completed_samples) == (3, 2)
    asked = {sample.input[-1].text: sample for sample in log.samples}
    first, fig, pear = asked["How do I ask?"], asked["How do I plant a fig?"], asked["How do I plant a pear?"]
    assert [message.text for message in first.input] == ["Be kind.", "How do I ask?"]
    answer = Answer.model_validate(first.store["matrix_align"])
    assert first.id == id_of(answer.question)
    assert first.messages[-1].text == first.output.completion == answer.text
    assert first.metadata["matrix_align"]["calls"] == len(answer.calls)
    assert fig.error is None
    assert "no pears" in pear.error.message
    assert not pear.output.choices
    used = sum(sample.model_usage["none/fake-model"].total_tokens for sample in (first, fig))
    assert log.stats.model_usage["none/fake-model"].total_tokens == used > 0


def test_a_log_that_cannot_be_written(run: Path, cli: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export = ("export", str(run), "--format", "inspect")
    assert "ends in .eval or .json" in complaint(cli(*export, "--out", str(tmp_path / "log.csv")))
    assert "takes --out alone" in complaint(cli(*export, "--out", str(tmp_path / "log.eval"), "--test", "0.5"))
    (tmp_path / "log.eval").touch()
    assert "is there already" in complaint(cli(*export, "--out", str(tmp_path / "log.eval")))
    for name in ("inspect_ai", "inspect_ai.log", "inspect_ai.model"):
        monkeypatch.setitem(sys.modules, name, None)
    assert "pip install 'matrix-align[eval]'" in complaint(cli(*export, "--out", str(tmp_path / "other.eval")))


def line(question: str, outcome: str, candidate: str = "new") -> str:
    pair: dict[str, Any] = {"id": question, "question_id": question, "category": "", "candidate": "x", "baseline": "y"}
    judgement = Judgement(as_a="candidate", level="A>B", reason="Kinder.", rater="ann")
    judged = Judged(pair=Pair(question=Question(text="How?"), **pair), judgements=(judgement,))
    return json.dumps({"candidate": candidate, "baseline": "old", "outcome": outcome, **judged.model_dump(mode="json")})


@pytest.mark.parametrize("suffix", [".json", ".jsonl"])
def test_a_comparison_as_scores(run: Path, cli: Run, tmp_path: Path, suffix: str) -> None:
    """Inspect scores an exported log by them. A missing outcome leaves its sample unscored; it is no tie."""
    log = tmp_path / "log.eval"
    assert cli("export", str(run), "--format", "inspect", "--out", str(log)).returncode == 0
    ids = [sample.id for sample in read_eval_log(str(log)).samples if not sample.error]
    folder, out = tmp_path / "comparison", tmp_path / f"scores{suffix}"
    folder.mkdir()
    lines = [line(ids[0], "win"), line(ids[1], "missing"), line("elsewhere", "lose")]
    (folder / "judged.jsonl").write_text("\n".join(lines) + "\n")
    done = cli("export", str(folder), "--format", "ratings", "--out", str(out), "--json")
    assert json.loads(done.stdout) == {"ratings": {"rows": 2, "win": 1, "lose": 1, "left_out": {"no outcome": 1}}}

    scored = inspect_ai.score(read_eval_log(str(log)), precomputed_scores(str(out)), display="none")
    samples = {sample.id: sample for sample in scored.samples}
    (score,) = samples[ids[0]].scores.values()
    assert (score.value, score.explanation) == (1.0, "ann, candidate first: Kinder.")
    assert score.metadata == {"new over old": {"outcome": "win", "levels": [1]}}
    assert not samples[ids[1]].scores
    assert scored.results.scores[0].metrics["accuracy"].value == 1.0


def test_several_pairs_of_runs_make_one_record_each(cli: Run, tmp_path: Path) -> None:
    (tmp_path / "judged.jsonl").write_text("\n".join([line("q", "win"), line("q", "tie", "newer")]))
    out = tmp_path / "scores.jsonl"
    assert cli("export", str(tmp_path), "--format", "ratings", "--out", str(out)).returncode == 0
    assert json.loads(out.read_text())["value"] == {"new over old": 1.0, "newer over old": 0.5}


def test_what_is_no_comparison(cli: Run, tmp_path: Path) -> None:
    export = ("export", str(tmp_path), "--format", "ratings", "--out", str(tmp_path / "scores.json"))
    assert "takes a folder that `matrix-align compare` made" in complaint(cli(*export))
    (tmp_path / "judged.jsonl").write_text('{"pair": 1}\n')
    assert "judged.jsonl:1 is no pair" in complaint(cli(*export))
    (tmp_path / "judged.jsonl").write_text(line("q", "missing"))
    assert "holds no outcome" in complaint(cli(*export))
