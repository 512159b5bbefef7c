"""Display scores are comparable between models of any range of cosines, and between articles and short texts."""

import numpy as np
import pytest

from recommender import Article, Recommender
from recommender.embedding import cosine_range
from recommender.embedding.encoder import DenseEncoder
from recommender.ranking import calibration
from recommender.ranking.matching import compare_pairs
from recommender.ranking.query import display_scale

DISTANCE_KEPT = 0.15  # of 1 - cosine: two random articles have 0.87 ± 0.02


@pytest.fixture(scope="module")
def examples(root, tmp_path_factory):
    with Recommender(tmp_path_factory.mktemp("examples") / "index") as rec:
        rec.build(root / "examples")
        yield rec


class CompressedEncoder(DenseEncoder):
    """The default model with the range of cosines of multilingual-e5-small: its vectors share one direction."""

    direction = np.random.default_rng(0).normal(size=384)
    direction *= np.sqrt((1 - DISTANCE_KEPT) / DISTANCE_KEPT) / np.linalg.norm(direction)

    def encode_articles(self, *args, **options):
        return self.compressed(super().encode_articles(*args, **options))

    def encode_texts(self, *args, **options):
        return self.compressed(super().encode_texts(*args, **options))

    def compressed(self, vectors):
        vectors = vectors + self.direction
        return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)

    def _spread(self):
        return cosine_range.measure_spread(self.encode_texts(cosine_range.TEXTS))


@pytest.fixture(scope="module")
def build_compressed():
    """Return a function that builds an index with compressed vectors."""

    def build(index, source):
        rec = Recommender(index)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("recommender.recommender.DenseEncoder", CompressedEncoder)
            rec.build(source)
        return rec

    return build


@pytest.fixture(scope="module")
def compressed(root, build_compressed, tmp_path_factory):
    with build_compressed(tmp_path_factory.mktemp("compressed") / "index", root / "examples") as rec:
        yield rec


def random_pairs(rec):
    """Return display scores of pairs of articles of different sections, which are rarely related."""
    store, articles = rec._store, list(rec)
    draw = np.random.default_rng(0)
    pairs_of_articles = (
        [articles[index] for index in pair] for pair in draw.integers(len(articles), size=(800, 2)).tolist()
    )
    pairs = [(first.id, second.id) for first, second in pairs_of_articles if first.section != second.section]
    return np.array([display_scale(store).display(score) for score in compare_pairs(store, pairs)])


@pytest.mark.slow
def test_random_pairs_have_low_display_scores_and_links_high_ones(examples, compressed):
    for rec in (examples, compressed):
        assert np.quantile(random_pairs(rec), 0.95) < 0.2
        best = [block[0].score for _, block in rec.links(1, plain=True)]
        assert np.median(best) > 0.5


@pytest.mark.slow
def test_a_model_of_another_range_gives_the_same_blocks_and_display_scores(examples, compressed):
    usual_blocks, compressed_blocks = (dict(rec.links(3, plain=True)) for rec in (examples, compressed))
    is_same = [
        [link.id for link in usual_blocks[id]] == [link.id for link in compressed_blocks[id]] for id in usual_blocks
    ]
    assert np.mean(is_same) > 0.9
    moved = [
        abs(a.score - b.score)
        for id in usual_blocks
        for a, b in zip(usual_blocks[id], compressed_blocks[id], strict=True)
    ]
    assert np.median(moved) < 0.03
    shaped = [{id: len(block) for id, block in rec.links(5)} for rec in (examples, compressed)]
    assert np.mean([shaped[0][id] == shaped[1][id] for id in usual_blocks]) > 0.9  # the threshold leaves out the same


def test_near_duplicates_have_display_scores_above_90_percent(examples):
    article = examples.get("science/isolde-expedition-hits-bedrock.txt")
    copy = Article(id="copy", title=article.title, text=article.text)
    assert examples.related(copy, 1, drop_near_duplicates=False)[0].score > 0.9


@pytest.mark.parametrize(
    ("text", "right"),
    [
        ("who pays when a company loses customer data", "farthingo"),
        ("football club rescued by its fans", "sport/"),
        ("chocolate gets more expensive", "chocolate"),
        ("stolen painting found", "grauven"),
    ],
)
def test_the_relevant_result_of_a_search_has_a_high_display_score(examples, compressed, text, right):
    for rec in (examples, compressed):
        hits = rec.search(text, 70)
        assert right in hits[0].id
        assert hits[0].score > 0.45
        assert np.quantile([hit.score for hit in hits], 0.8) < 0.2


def test_display_scores_separate_subjects_in_a_tiny_archive(articles, build_compressed, tmp_path):
    with build_compressed(tmp_path / "index", articles) as rec:
        assert rec._store.settings()["scale"] is None
        for id, block in rec.links(5):
            subject = id.split("-")[0]
            own_scores = [link.score for link in block if link.section == subject]
            assert min(own_scores) > 0.2 > max(link.score for link in block if link.section != subject)
        hits = rec.search("talks about the dam", 6)
        assert hits[0].score > 0.5
        assert all(hit.score < 0.2 for hit in hits if hit.section == "club")


def test_most_of_the_sample_stays_when_articles_are_added_and_removed(fake_vectors, tmp_path):
    articles = [Article(id=str(n), title=f"topic{n % 9} story {n}", text=f"word{n % 40} here") for n in range(300)]
    with Recommender(tmp_path / "index") as rec:
        rec.build(articles[:290])
        before = set(calibration.calibrate(rec._store)["sample"])
        rec.add(articles[290:])
        rec.remove("0", "1", "2")
        after = set(calibration.calibrate(rec._store)["sample"])
    assert len(before) == len(after) == calibration.TEXT_SAMPLE_SIZE < 290
    assert len(before & after) > calibration.TEXT_SAMPLE_SIZE - 20


def test_an_index_without_a_measured_scale_uses_the_default(examples):
    expected = examples.related("city/strake-report-builder-city-hall.txt")
    store = examples._store
    measured = store.settings()["scale"]
    with store.write_lock():
        store.put_setting("scale", None)
    try:
        assert [link.id for link in examples.related("city/strake-report-builder-city-hall.txt")] == [
            link.id for link in expected
        ]
        assert 0 < examples.search("trams", 1)[0].score < 1
    finally:
        with store.write_lock():
            store.put_setting("scale", measured)
