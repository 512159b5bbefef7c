from collections import Counter
from dataclasses import replace

import lxml.html
import pytest
from click.testing import CliRunner
from handbook import handbook

from recommender import Recommender
from recommender.cli.main import main
from recommender.learning.learn import LearnReport

pytest.importorskip("lightgbm")


def texts(node, path):
    return [" ".join(" ".join(element.itertext()).split()) for element in node.xpath(path)]


def test_the_report_shows_before_and_after_the_curve_importance_and_blocks(linked_by_habit, trained):
    rec, report = linked_by_habit, trained[1]
    blocks = list(report.blocks)
    blocks[0] = replace(blocks[0], before=1.0, after=0.25, content=blocks[0].learned, learned=blocks[0].content)
    page = lxml.html.fromstring(rec.learn_report(replace(report, blocks=tuple(blocks))))
    text = " ".join(page.text_content().split())
    assert f"Adopted. {report.reason}" in text
    for value in (report.before, report.after, report.after_old):
        assert f"{value['ndcg@10']:.3f}" in text
    better = sum(block.after > block.before for block in blocks)
    assert f"{better} articles are ranked better than by content, 1 worse" in text
    images = page.xpath("//img")
    assert len(images) == 4
    assert all(image.get("src").startswith("data:image/svg+xml") and image.get("alt") for image in images)
    assert len(page.xpath("//table[@class='queries']//tr")) == 1 + len(blocks)
    sizes = [cells.split()[0] for cells in texts(page, "//table[@class='curve']//tr")[1:-1]]
    assert sizes[:2] == ["30", "100"]
    assert int(sizes[2]) > 100
    curve = [float(cells.split()[1]) for cells in texts(page, "//table[@class='curve']//tr")[1:-1]]
    by_content = float(texts(page, "//table[@class='curve']//tr")[-1].split()[-1])
    assert curve[-1] > by_content + 0.1
    shares = [float(cells.rsplit(" ", 2)[-2]) for cells in texts(page, "//table[@class='importance']//tr")]
    assert sum(shares) == pytest.approx(100, abs=0.5)
    assert shares == sorted(shares, reverse=True)
    assert shares[0] > 20


def test_the_report_marks_the_links_in_the_blocks_that_improved_and_got_worse(linked_by_habit, trained):
    rec, report = linked_by_habit, trained[1]
    blocks = list(report.blocks)
    blocks[0] = replace(blocks[0], before=1.0, after=0.25, content=blocks[0].learned, learned=blocks[0].content)
    page = lxml.html.fromstring(rec.learn_report(replace(report, blocks=tuple(blocks))))
    sections = page.xpath("//section[@class='block']")
    assert len(sections) == 10 + 1
    by_gain = sorted(blocks, key=lambda block: (block.before - block.after, block.id))
    title_of = {article.id: article.title for article in rec}
    for section, block in zip(sections, [*by_gain[:10], blocks[0]], strict=True):
        assert texts(section, "./h3") == [f"{title_of[block.id]} {block.id}"]
        for side, ids in zip(section.xpath("./div[@class='sides']/div"), (block.content, block.learned), strict=True):
            marks = ["✓ " if id in block.links else "" for id in ids]
            assert texts(side, ".//li") == [f"{mark}{title_of[id]} {id}" for mark, id in zip(marks, ids, strict=True)]


def test_a_training_without_enough_links_has_a_report_of_its_reason(linked_by_habit):
    page = lxml.html.fromstring(linked_by_habit.learn_report(LearnReport(adopted=False, reason="There are <3 links.")))
    assert "Not adopted. There are <3 links." in " ".join(page.text_content().split())
    assert Counter(element.tag for element in page.iter())["img"] == 0


def test_the_command_writes_the_report(tmp_path, fake_vectors):
    index, path = tmp_path / "index", tmp_path / "new" / "page.html"
    with Recommender(index) as rec:
        rec.build(handbook(120))
    result = CliRunner().invoke(main, ["learn", "--index", str(index), "--report", str(path)])
    assert result.exit_code == 0, result.output
    assert f"The report is in {path}." in result.stdout
    page = path.read_text(encoding="utf-8")
    assert "Learning curve" in page
    assert not [part for part in ("<script", "@import", "http://", "https://") if part in page]  # nothing to fetch
    result = CliRunner().invoke(main, ["learn", "--index", str(index), "--report", str(path), "--status"])
    assert result.exit_code == 2


def test_a_report_that_cannot_be_written_is_reported_before_the_training(tmp_path, fake_vectors, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(Recommender, "learn", lambda self, **options: pytest.fail("trained"))
    with Recommender(tmp_path / "index") as rec:
        rec.build(handbook()[:9])
    path = str(tmp_path / "file" / "page.html")
    result = CliRunner().invoke(main, ["learn", "--index", str(tmp_path / "index"), "--report", path])
    assert (result.exit_code, result.stdout) == (1, "")
    assert "is not a folder" in result.stderr
