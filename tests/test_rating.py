"""rate: what is shown to whom, what counts, the report's figures, and ratings that go out to other tools."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from matrix_align.data.preferences import preference_of
from matrix_align.errors import InputError
from matrix_align.evals.rating.folder import RATINGS
from matrix_align.evals.rating.report import report
from matrix_align.evals.rating.store import Ratings
from matrix_align.evals.rating.types import HARMS, Given, Rated

from .conftest import Run as Cli
from .conftest import complaint
from .rating import a_rating, a_run, fair, gold_file, likes_a, questions, rate_all, two_runs
from .test_compare_blind import lines_of


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return two_runs(tmp_path, 20, same=2)


def rated_in(folder: Path) -> list[Rated]:
    with Ratings(folder / RATINGS, read_only=True) as ratings:
        return ratings.rated()


def test_each_rater_has_an_order_and_sides_of_their_own(runs: list[Path], tmp_path: Path) -> None:
    gold = gold_file(tmp_path / "gold.jsonl", 4)
    a_rating(tmp_path / "r", runs, "Ann", "Ben", repeats=5, gold=gold)
    with Ratings(tmp_path / "r" / RATINGS) as ratings:
        shown = ratings.all_showings()
        items = {item.id: item for item in ratings.items()}
    assert Counter(item.kind for item in items.values()) == {"pair": 18, "identical": 2, "gold": 4}
    lists = {name: [one for other, one in shown if other == name] for name in ("Ann", "Ben")}
    orders = []
    for own in lists.values():
        assert [one.place for one in own] == list(range(18 + 4 + 5))
        first = {one.item: one for one in own if not one.again}
        assert len(first) == 22 and all(items[id].kind != "identical" for id in first)
        assert Counter(one.as_a for one in first.values()) == {"candidate": 11, "baseline": 11}
        again = [one for one in own if one.again]
        assert len(again) == 5
        for one in again:
            assert items[one.item].kind == "pair"
            assert one.as_a != first[one.item].as_a and one.place > first[one.item].place + 1
        orders.append([(one.item, one.as_a) for one in own if not one.again])
    assert orders[0] != orders[1] and sorted(id for id, _ in orders[0]) == sorted(id for id, _ in orders[1])
    a_rating(tmp_path / "s", runs, "Ann", "Ben", repeats=5, gold=gold)
    with Ratings(tmp_path / "s" / RATINGS) as ratings:
        assert ratings.all_showings() == shown, "the same seed draws the same"


def test_limits(tmp_path: Path) -> None:
    """Questions are drawn from each category in turn, and the pairs are spread evenly over the raters."""
    runs = two_runs(tmp_path, 40)
    third = a_run(tmp_path / "third", dict.fromkeys(questions(40), "Ask a gardener."))
    a_rating(tmp_path / "r", [*runs, third], "Ann", "Ben", "Cy", limit=10, per_rater=12, all_pairs=True)
    with Ratings(tmp_path / "r" / RATINGS) as ratings:
        items, shown = ratings.items(), ratings.all_showings()
    assert Counter(item.comparison for item in items) == {0: 10, 1: 10, 2: 10}
    assert Counter(item.pair.category for item in items) == {"helpful": 15, "harmful": 15}
    times = Counter(one.item for _, one in shown)
    assert len(shown) == 36 and len(times) == 30 and set(times.values()) == {1, 2}


def test_a_rating_counts_once_and_an_undo_once(runs: list[Path], tmp_path: Path) -> None:
    ann, ben = a_rating(tmp_path / "r", runs, "Ann", "Ben")
    with Ratings(tmp_path / "r" / RATINGS) as ratings:
        one = ratings.next(ann)
        assert one and ratings.progress(ann) == (0, 18)
        given = Given(level="A>B", reason="It says \x00more.", seconds=1)
        assert ratings.rate(ann, one.id, given) and not ratings.rate(ann, one.id, Given(level="B>A", seconds=1))
        assert [(each.given.level, each.given.reason) for each in ratings.rated()] == [("A>B", "It says more.")]
        with pytest.raises(InputError, match="not among yours"):
            ratings.rate(ben, one.id, given)
        following = ratings.next(ann)
        assert following and following.place == one.place + 1
        number, latest, _ = ratings.latest(ann) or pytest.fail()
        assert latest == one and not ratings.undo(ben, number)
        assert ratings.undo(ann, number) and not ratings.undo(ann, number)
        assert ratings.next(ann) == one and ratings.progress(ann) == (0, 18) and not ratings.rated()
        back = ratings.undone(ann, one)
        assert back and back.reason == "It says more."
        assert ratings.rate(ann, one.id, Given(level="B>A", seconds=1)) and ratings.next(ann) == following
        assert ratings.select("SELECT count(*) FROM ratings")[0] == (2,), "what was undone is kept"


def test_the_report_of_three_raters(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    """Two fair raters and one who always takes A: who wins, who agrees, who has a bias, who fails the gold items."""
    folder, gold = tmp_path / "r", gold_file(tmp_path / "gold.jsonl", 10)
    a_rating(folder, runs, "Ann", "Ben", "Cy", repeats=4, gold=gold)
    assert rate_all(folder, {"Ann": fair, "Ben": fair, "Cy": likes_a}) == 3 * (18 + 10 + 4)
    done = cli("rate", "report", str(folder))
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (folder / "report.md").read_text().strip()
    found = json.loads((folder / "report.json").read_text())
    (only,) = found["results"]["comparisons"]
    assert (only["wins"]["wins"], only["wins"]["ties"], only["wins"]["n"]) == (18, 2, 20)
    assert only["counts"]["identical"] == 2 and sorted(only["by_category"]) == ["harmful", "helpful"]
    ann, ben, cy = found["raters"]
    assert (ann["rated"], ann["shown"], ann["seconds"]) == (32, 32, 2.0)
    assert (ann["again"]["part"], ann["again"]["n"], ann["gold"]["part"], ann["gold"]["n"]) == (1, 4, 1, 10)
    assert (cy["again"]["part"], cy["position"]["value"]) == (0, 1) and cy["gold"]["part"] < 1
    assert abs(ben["position"]["value"]) < 0.5
    nominal = found["alphas"][0]
    assert nominal["metric"] == "nominal" and nominal["estimate"]["n"] == 18 and not nominal["undefined"]
    without = report(folder, without=["Cy"])
    assert without.results.judges == ("Ann", "Ben") and "says the same" in without.alphas[0].undefined
    assert "no such rater" in complaint(cli("rate", "report", str(folder), "--without", "Di"))


def test_kinds_of_harm_are_counted_by_majority(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    """For each comparison: a candidate's wins over one run say nothing of another's."""
    third = a_run(tmp_path / "third", dict.fromkeys(questions(20), "Ask a gardener."))
    raters = a_rating(tmp_path / "r", [*runs, third], "Ann", "Ben")
    with Ratings(tmp_path / "r" / RATINGS) as ratings:
        for rater in raters:
            while showing := ratings.next(rater):
                item = ratings.item(showing.item)
                level = fair(item, showing) if item.comparison == 0 else "A=B"
                harm = HARMS[9] if showing.place % 2 else ""
                given = Given.model_validate({"level": level, "harm": harm, "seconds": 1})
                ratings.rate(rater, showing.id, given)
    found = report(tmp_path / "r").by_harm
    assert [list(each) for each in found] == [["Privacy Violation"]] * 2
    new, other = (each["Privacy Violation"] for each in found)
    assert new.wins == new.n > 0 and other.ties == other.n > 0 and 19 <= new.n + other.n <= 38
    shown = cli("rate", "report", str(tmp_path / "r")).stdout
    assert [f"{name} against old, by the kind of harm" in shown for name in ("new", "third", "old")] == [1, 1, 0]


def test_agreement_with_a_judge(runs: list[Path], tmp_path: Path) -> None:
    """A comparison's verdicts on the same pairs; here those of other raters."""
    for name in ("r", "judge"):
        a_rating(tmp_path / name, runs, "Ann")
        rate_all(tmp_path / name, {"Ann": fair})
    report(tmp_path / "judge")
    found = report(tmp_path / "r", tmp_path / "judge").judge
    assert found and found.agreement.value == 1 and found.agreement.n == 18 and found.judge == "Ann"
    assert found.table == ((18, 0, 0), (0, 0, 0), (0, 0, 0)) and found.kappa.n == 0
    other = [a_run(tmp_path / "x", {"Why?": "So."}), a_run(tmp_path / "y", {"Why?": "Thus."})]
    a_rating(tmp_path / "z", other, "Ann")
    report(tmp_path / "z")
    with pytest.raises(InputError, match="no verdict on a pair"):
        report(tmp_path / "r", tmp_path / "z")
    with pytest.raises(InputError, match="wanted a folder that `compare --out` made"):
        report(tmp_path / "r", tmp_path / "nowhere")


def test_nothing_rated_yet(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    a_rating(tmp_path / "r", runs, "Ann")
    done = cli("rate", "report", str(tmp_path / "r"))
    assert done.returncode == 0 and "alpha is undefined: nothing is rated" in done.stdout
    assert "nothing to export" in complaint(
        cli("rate", "export", str(tmp_path / "r"), "--out", str(tmp_path / "o.jsonl"))
    )


def test_ratings_go_to_compare(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    """The same wins, position bias and raters' agreement come back from `compare --ratings`."""
    folder, out = tmp_path / "r", tmp_path / "ratings.jsonl"
    a_rating(folder, runs, "Ann", "Ben", "Cy", repeats=3, gold=gold_file(tmp_path / "gold.jsonl", 2))
    rate_all(folder, {"Ann": fair, "Ben": fair, "Cy": likes_a})
    assert cli("rate", "export", str(folder), "--out", str(out)).returncode == 0
    assert len(lines_of(out)) == 54
    done = cli(
        *("compare", *map(str, runs), "--out", str(tmp_path / "c"), "--ratings", str(out)),
        *("--key", str(folder / "key.jsonl"), "--json"),
    )
    assert done.returncode == 0 and done.stderr == ""
    [theirs] = json.loads(done.stdout)["comparisons"]
    [ours] = json.loads(report(folder).results.model_dump_json())["comparisons"]
    assert all(theirs[name] == ours[name] for name in ("wins", "orders", "raters"))


def test_the_key_is_whole_whoever_is_left_out(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    """It says what went out, and other rating files may come back: leaving a rater out shortens the ratings alone."""
    folder = tmp_path / "r"
    a_rating(folder, runs, "Ann", "Cy")
    rate_all(folder, {"Ann": fair, "Cy": likes_a})
    for out, more in ((tmp_path / "all.jsonl", ()), (tmp_path / "some.jsonl", ("--without", "Cy"))):
        assert cli("rate", "export", str(folder), "--out", str(out), *more).returncode == 0
        assert {line["rater"] for line in lines_of(folder / "key.jsonl")} == {"Ann", "Cy"}
    assert {line["rater"] for line in lines_of(tmp_path / "some.jsonl")} == {"Ann"}
    done = cli(
        *("compare", *map(str, runs), "--out", str(tmp_path / "c"), "--json"),
        *("--ratings", str(tmp_path / "some.jsonl"), "--key", str(folder / "key.jsonl")),
    )
    (theirs,), (ours,) = json.loads(done.stdout)["comparisons"], report(folder, None, ["Cy"]).results.comparisons
    assert theirs["wins"] == ours.wins.model_dump() and theirs["counts"] == ours.counts.model_dump()


def test_as_many_repeats_as_asked_for(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    """Half of a rater's pairs can come again, wherever gold items lie between them; more are refused."""
    gold = gold_file(tmp_path / "gold.jsonl", 12)
    command = ("rate", "new", str(tmp_path / "r"), *map(str, runs), "--by-name", "--repeats")
    assert "a rater gets 18 pairs" in complaint(cli(*command, "10"))
    assert "give 3 at most" in complaint(cli(*command, "4", "--per-rater", "7"))
    names = [f"rater {number}" for number in range(10)]
    a_rating(tmp_path / "s", runs, *names, repeats=9, gold=gold)
    with Ratings(tmp_path / "s" / RATINGS) as ratings:
        again = Counter(name for name, showing in ratings.all_showings() if showing.again)
    assert again == dict.fromkeys(names, 9)


def test_preference_pairs_and_scores(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    folder = tmp_path / "r"
    a_rating(folder, runs, "Ann")
    rate_all(folder, {"Ann": fair})

    def exported(format: str, name: str) -> list[dict[str, Any]]:
        done = cli("rate", "export", str(folder), "--format", format, "--out", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        return lines_of(tmp_path / name)

    preferences = [preference_of(row) for row in exported("dpo", "dpo.jsonl")]
    assert len(preferences) == 18 and all("good" in one.chosen and one.rejected == "Dig a hole." for one in preferences)
    scores = exported("inspect", "scores.jsonl")
    assert len({row["id"] for row in scores}) == 20
    assert Counter(row["value"] for row in scores) == {1.0: 18, 0.5: 2}, "identical texts are a tie"
    again = cli("rate", "export", str(folder), "--format", "dpo", "--out", str(tmp_path / "dpo.jsonl"))
    assert "is there already" in complaint(again)


def test_new_on_the_command_line(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    """The same command changes nothing, more raters can come, and what is rated can't be made anew."""
    folder = tmp_path / "my rating"
    command = ("rate", "new", str(folder), *map(str, runs))
    assert "nobody could rate" in complaint(cli(*command))
    done = cli(*command, "--rater", "Ann", "--seed", "1")
    assert done.returncode == 0 and "18 pairs to rate, 2 pairs of identical texts" in done.stderr
    link = done.stdout.strip()
    assert link.startswith("Ann: /rate/my%20rating/") and len(link) > 40
    assert cli(*command, "--rater", "ann", "--seed", "1").stdout.strip() == link
    more = cli(*command, "--rater", "Ben", "--seed", "1")
    assert more.stdout.splitlines()[0] == link and more.stdout.splitlines()[1].startswith("Ben: ")
    assert cli(*command, "--seed", "2").returncode == 0, "nothing is rated yet"
    rate_all(folder, {"Ann": fair})
    other = "--limit was not given, is 2; --seed was 2, is 3; --by-name was not given, is given; "
    said = complaint(cli(*command, "--limit", "2", "--seed", "3", "--by-name"))
    assert f"{other}give the same ones, or another DIR" in said
    assert len(rated_in(folder)) == 18


def test_mistakes(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    folder, bad = str(tmp_path / "r"), tmp_path / "gold.jsonl"
    bad.write_text('{"prompt": "Why?", "chosen": "So."}\n')
    assert "gold.jsonl:1 is no gold item" in complaint(
        cli("rate", "new", folder, *map(str, runs), "--rater", "A", "--gold", str(bad))
    )
    assert "two runs or more" in complaint(cli("rate", "new", folder, str(runs[0]), "--rater", "A"))
    assert "1 to 60 characters" in complaint(cli("rate", "new", folder, *map(str, runs), "--rater", " "))
    assert "holds no rating" in complaint(cli("rate", "report", str(tmp_path / "none")))
    alike = [a_run(tmp_path / name, {"Why?": "So."}) for name in ("x", "y")]
    assert "no two different answers" in complaint(cli("rate", "new", folder, *map(str, alike), "--rater", "A"))


def test_no_command_writes_into_the_folder_of_another(runs: list[Path], tmp_path: Path, cli: Cli) -> None:
    """Their files can have the same names: key.jsonl and judged.jsonl are of a comparison, and of a rating too."""
    one, other, new = str(tmp_path / "c"), str(tmp_path / "r"), list(map(str, runs))
    assert cli("compare", *new, "--out", one, "--pairs-out", str(tmp_path / "for-r")).returncode == 0
    a_rating(tmp_path / "r", runs, "Ann")
    rate_all(tmp_path / "r", {"Ann": fair})
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "evaluation.toml").write_text("")
    key = (tmp_path / "c" / "key.jsonl").read_text()
    for made_by, folder in (("rate new", other), ("evaluate", str(tmp_path / "e"))):
        for out, pairs in ((folder, str(tmp_path / "more")), (str(tmp_path / "d"), folder)):
            assert f"`{made_by}` made {folder}" in complaint(cli("compare", *new, "--out", out, "--pairs-out", pairs))
    assert f"`compare` made {one}" in complaint(cli("rate", "new", one, *new, "--rater", "Ann"))
    assert not (tmp_path / "c" / "rating.db").exists() and not (tmp_path / "more").exists()
    assert "other pairs" in complaint(
        cli("compare", *new, "--out", str(tmp_path / "d"), "--pairs-out", str(tmp_path / "for-r"), "--once")
    )
    inside = ("compare", *new, "--out", str(tmp_path / "f"), "--pairs-out", str(tmp_path / "e" / "pairs"))
    (tmp_path / "e" / "pairs").mkdir()
    (tmp_path / "e" / "pairs" / "README.md").write_text("Mine.")
    assert "would be overwritten" in complaint(cli(*inside))
    (tmp_path / "r" / "key.jsonl").write_text(key)
    export = ("rate", "export", other, "--out")
    assert "is the key of other pairs" in complaint(cli(*export, str(tmp_path / "o.jsonl")))
    assert (tmp_path / "r" / "key.jsonl").read_text() == key
    (tmp_path / "r" / "key.jsonl").unlink()
    assert "the place of the key" in complaint(cli(*export, str(tmp_path / "r" / "key.jsonl")))
