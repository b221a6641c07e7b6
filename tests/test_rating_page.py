"""The rating page over real HTTP: raters, limits, what is sent twice, and a server that is killed."""

from __future__ import annotations

import html
import http.client
import json
import re
import signal
import threading
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest

from matrix_align.evals.rating.folder import DESCRIBED, RATINGS
from matrix_align.evals.rating.report import report
from matrix_align.evals.rating.store import Ratings
from matrix_align.evals.rating.types import Rater
from matrix_align.web import bodies, forms
from matrix_align.web.pages import HEADERS

from .conftest import Run as Cli
from .conftest import complaint, started
from .fake import FakeServer
from .rating import a_rating, rating_page, two_runs

HIDDEN = re.compile(r'name="(\w+)" value="([^"]*)"')
TEXTS = re.compile(r'<div class="text" dir="auto">(.*?)</div>', re.S)


class Reply(NamedTuple):
    status: int
    headers: dict[str, str]
    text: str


class Client:
    """One rater's browser without scripts: it follows links by itself, and keeps nothing."""

    def __init__(self, url: str, path: str) -> None:
        self._host = urlsplit(url).netloc
        self.path = path

    def send(self, path: str, form: dict[str, str] | None = None, **headers: str) -> Reply:
        body = None if form is None else urlencode(form)
        given = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
        with closing(http.client.HTTPConnection(self._host, timeout=120)) as connection:
            connection.request("GET" if body is None else "POST", path, body, {**given, **headers})
            answer = connection.getresponse()
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Reply(answer.status, found, answer.read().decode())

    def page(self) -> Reply:
        return self.send(self.path)

    def form(self, level: str, page: str) -> dict[str, str]:
        return {**dict(HIDDEN.findall(page.partition('class="rating"')[2])), "level": level}

    def rate(self, level: str, page: str) -> str:
        """Sends the rating of this page. Returns the next page."""
        answer = self.send(self.path, self.form(level, page))
        assert answer.status == 303, answer.text
        return self.send(answer.headers["location"]).text


def better(page: str) -> str:
    """What a fair rater says of a page."""
    _, a, b = (html.unescape(text) for text in TEXTS.findall(page))
    return "A=B" if ("good" in a) == ("good" in b) else "A>B" if "good" in a else "B>A"


def client(url: str, rater: Rater) -> Client:
    return Client(url, f"/rate/r/{rater.link}")


def finish(one: Client, most: int = 10_000) -> int:
    """Rates until all is rated, or `most` pairs. Returns how many were sent."""
    page, count = one.page().text, 0
    while "Which answer is better?" in page and count < most:
        page = one.rate(better(page), page)
        count += 1
    return count


@pytest.fixture
def runs(tmp_path: Path) -> list[Path]:
    return two_runs(tmp_path, 12)


def count(folder: Path) -> Counter[str]:
    with Ratings(folder / RATINGS, read_only=True) as ratings:
        return Counter(each.rater for each in ratings.rated())


def test_three_raters_at_once(runs: list[Path], tmp_path: Path) -> None:
    """Each rates all pairs, and the report says what they said."""
    folder = tmp_path / "r"
    raters = a_rating(folder, runs, "Ann", "Ben", "Cy", repeats=2)
    with rating_page(folder) as url:
        threads = [threading.Thread(target=finish, args=(client(url, rater),)) for rater in raters]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert count(folder) == {"Ann": 14, "Ben": 14, "Cy": 14}
    found = report(folder)
    assert found.results.comparisons[0].wins.wins == 12
    assert {rater.again and rater.again.part for rater in found.raters} == {1}
    assert {rater.gold for rater in found.raters} == {None}
    assert all(rater.seconds is not None and 0 <= rater.seconds < 60 for rater in found.raters)


def test_sent_twice_counts_once(runs: list[Path], tmp_path: Path) -> None:
    """A double click, a second tab that is behind, a page from the history; and the same for an undo."""
    folder = tmp_path / "r"
    (ann,) = a_rating(folder, runs, "Ann")
    with rating_page(folder) as url:
        one, other = client(url, ann), client(url, ann)
        first, same = one.page().text, other.page().text
        second = one.rate("A>B", first)
        assert "Saved." in second and "Pair 2 of 12" in second
        late = other.rate("B>A", same)
        assert "rated already" in late and "Pair 2 of 12" in late and count(folder) == {"Ann": 1}
        form = one.form("A=B", second)
        sends = [threading.Thread(target=client(url, ann).send, args=(one.path, form)) for _ in range(8)]
        for send in sends:
            send.start()
        for send in sends:
            send.join()
        assert count(folder) == {"Ann": 2}
        third = one.page().text
        number = {"rating": re.findall(r'name="rating" value="(\d+)"', third)[0]}
        for note in ("Taken back", "nothing to take back"):
            answer = one.send(f"{one.path}/undo", number)
            assert answer.status == 303 and note in one.send(answer.headers["location"]).text
        assert count(folder) == {"Ann": 1} and "Pair 2 of 12" in one.page().text


def test_whoever_gives_a_name(runs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "r"
    a_rating(folder, runs, by_name=True)
    a_rating(tmp_path / "closed", runs, "Ann")
    with rating_page(folder, tmp_path / "closed") as url:
        one = Client(url, "/rate/r")
        assert "Your name" in one.page().text
        answer = one.send("/rate/r", {"name": "Zo\u00eb <b>"})
        assert answer.status == 303 and answer.headers["location"].startswith("/rate/r/")
        own = Client(url, answer.headers["location"])
        assert "You rate as Zo\u00eb &lt;b&gt;." in own.page().text and finish(own, 2) == 2
        taken = one.send("/rate/r", {"name": "zo\u00eb  <b>"})
        assert taken.status == 400 and "is taken" in taken.text
        assert one.send("/rate/r", {"name": " "}).status == 400
        assert "Your name" not in one.send("/rate/closed").text
        assert one.send("/rate/closed", {"name": "Ben"}).status == 400
        described = (folder / DESCRIBED).read_text()
        assert "repeats = 0" in described
        (folder / DESCRIBED).write_text(
            described.replace("repeats = 0", "repeats = 7")
        )  # as earlier versions let it be
        more = one.send("/rate/r", {"name": "Cy"})
        assert more.status == 400 and "of which 6 can come again and 7 should" in more.text
    assert count(folder) == {"Zo\u00eb <b>": 2}


def test_the_ratings_are_listed(runs: list[Path], tmp_path: Path) -> None:
    """By name, and never with a link, which is a rater's secret. No model is served, so nothing speaks of an API."""
    folders = [tmp_path / "r", tmp_path / "a b"]
    raters = [a_rating(folder, runs, "Ann")[0] for folder in folders]
    with rating_page(*folders) as url:
        one = Client(url, "/")
        for path in ("/", "/rate"):
            page = one.send(path)
            assert page.status == 200 and 'href="/rate/a%20b"' in page.text and ">r</a>" in page.text
            assert not any(rater.link in page.text for rater in raters)
        for accept in ("*/*", "text/html"):
            missing = one.send("/v1/models", Accept=accept)
            assert missing.status == 404 and "the ratings are at /rate" in missing.text and "scenes" not in missing.text


def test_what_is_no_rating_is_refused(runs: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wrong levels, other people's pairs, forms that are too large, sites that send forms here: nothing is written."""
    folder = tmp_path / "r"
    ann, ben = a_rating(folder, runs, "Ann", "Ben")
    with rating_page(folder) as url:
        one, page = client(url, ann), client(url, ann).page()
        form = one.form("A>B", page.text)
        other = one.form("A>B", client(url, ben).page().text)
        wrong: tuple[dict[str, str], ...] = (
            {**form, "level": "A"},
            {**form, "since": "soon"},
            {**form, "showing": "1"},
            other,
            {},
        )
        assert [one.send(one.path, each).status for each in wrong] == [400] * 5
        large = {"Content-Length": str(2 << 16)}
        assert one.send(one.path, form, **large).status == 413, "refused before it is sent"
        assert [one.send(f"/rate/r/nobody{end}", form, **large).status for end in ("", "/undo")] == [404] * 2
        assert one.send("/rate/r", form, **large).status == 400, "it is not open to a name, so none is read"
        assert client(url, ann).send(one.path, form, Origin="https://example.org").status == 403
        paths = ("/rate/r/nobody", "/rate/nowhere", "/rate/nowhere/x", "/rate/r/" + ann.link + "/more")
        assert [one.send(path).status for path in paths] == [404] * 4
        assert one.send(f"{one.path}/undo", {"rating": "9" * 30}).status == 303
        assert not count(folder)
        policy = page.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert page.headers.items() >= {name.lower(): value for name, value in HEADERS.items()}.items()
        monkeypatch.setattr(bodies.ROOM, "free", 0)  # the gateway's
        monkeypatch.setattr(forms.ROOM, "free", 0)  # the stage's
        long = one.send(one.path, {**form, "reason": "y" * 5000, "harm": "no such harm"})
        assert long.status == 303
    with Ratings(folder / RATINGS) as ratings:
        (only,) = ratings.rated()
    assert len(only.given.reason) == 2000 and only.given.harm == ""


def test_harmful_texts_are_folded(runs: list[Path], tmp_path: Path) -> None:
    folder = tmp_path / "r"
    (ann,) = a_rating(folder, runs, "Ann")
    with rating_page(folder) as url:
        folded = Counter[bool]()
        for page in all_pages(client(url, ann)):
            number = int(re.findall(r"tree number (\d+)", page)[0])
            is_folded = '<details class="fold">' in page
            assert is_folded == (number % 2 == 1)
            folded[is_folded] += 1
    assert folded == {True: 6, False: 6}


def all_pages(one: Client) -> list[str]:
    """Every page that a rater sees."""
    pages, page = [], one.page().text
    while "Which answer is better?" in page:
        pages.append(page)
        page = one.rate("A=B", page)
    return pages


def test_a_killed_server_loses_no_rating(runs: list[Path], tmp_path: Path) -> None:
    """Every rating that led to a next page is there afterwards, once, and the rater goes on where they were."""
    folder = tmp_path / "r"
    (ann,) = a_rating(folder, runs, "Ann")
    sent = 0
    for most in (3, 2):
        process = started(tmp_path, "serve", "--rating", str(folder), "--port", "0")
        assert process.stderr
        assert process.stdout
        url = re.findall(r"at (http://\S+)/rate/r$", process.stderr.readline())[0]
        assert process.stdout.readline() == f"Ann: {url}/rate/r/{ann.link}\n"
        one = client(url, ann)
        assert f"Pair {sent + 1} of 12" in one.page().text
        sent += finish(one, most)
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert count(folder) == {"Ann": sent}
    assert sent == 5


def test_beside_a_gateway(runs: list[Path], tmp_path: Path, server: FakeServer) -> None:
    """One command serves the model and the rating. It prints the raters' links, which are in no line of the log."""
    folder = tmp_path / "r"
    ann, ben = a_rating(folder, runs, "Ann", "Ben")
    given = ("--rating", str(folder), "--endpoint", server.url, "--port", "0")
    with started(tmp_path, "serve", *given) as process:
        assert process.stdout
        try:
            printed = [process.stdout.readline().strip() for _ in range(2)]
            url = printed[0].removeprefix("Ann: ").removesuffix(f"/rate/r/{ann.link}")
            assert printed == [f"{rater.name}: {url}/rate/r/{rater.link}" for rater in (ann, ben)]
            one = client(url, ann)
            assert "Pair 1 of 12" in one.page().text
            assert "Scenes" in one.send("/").text and 'href="/rate/r"' in one.send("/rate").text
            assert server.name in one.send("/v1/models").text
        finally:
            process.terminate()
        log = process.communicate()[1]
    assert f"{folder} is rated at {url}/rate/r" in [json.loads(line)["message"] for line in log.splitlines()]
    assert not any(rater.link in log for rater in (ann, ben))


def test_serve_needs_a_rating(tmp_path: Path, cli: Cli) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        said = complaint(cli("serve", "--rating", str(tmp_path / name), "--model", "smollm2-135m"))
        assert f"{name} holds no rating; `matrix-align rate new" in said
