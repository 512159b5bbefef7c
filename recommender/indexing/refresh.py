"""What follows from all articles together: terms in an assumed language, hubness, the display scale."""

from collections.abc import Callable, Sequence

from recommender.embedding.encoder import DenseModel
from recommender.indexing import pipeline
from recommender.indexing.pipeline import presumed_language, upsert
from recommender.ranking import calibration, hubness
from recommender.store import Store
from recommender.text.terms import TERM_SETTINGS

MAX_FOREIGN_SHARE = 0.05  # of the articles in languages that the model was not trained on; above it a build warns
# Multilingual models to recommend, with the languages that their cards list.
MULTILINGUAL_MODEL = "paraphrase-multilingual-MiniLM-L12-v2"
MULTILINGUAL_MODEL_LANGUAGES = (
    "ar bg ca cs da de el en es et fa fi fr gl gu he hi hr hu hy id it ja ka ko ku lt lv mk mn mr ms my nb nl no pl "
    "pt ro ru sk sl sq sr sv th tr uk ur vi zh"
)
MOST_MULTILINGUAL_MODEL = "LaBSE"  # 109 languages


def refresh_terms(store: Store) -> None:
    """Extract the terms of all articles again if the index was built with other rules for terms."""
    if store.exists() and store.settings().get("lexical") != TERM_SETTINGS:
        _extract_terms_again(store, list(store.ids()))
        store.put_setting("lexical", TERM_SETTINGS)


def refresh_assumed_languages(store: Store) -> None:
    """Extract terms again where the assumed language of an article is not the dominant one any more."""
    _extract_terms_again(store, store.ids_with_assumed_language(presumed_language(store)))


def refresh_scores(store: Store, on_progress: Callable[[int, int], None], n_jobs: int | None) -> None:
    """Compute the hubness of articles that have none, and after a full round the display scale.

    Raises:
        IndexDamagedError: an article's signals are damaged.
    """
    is_full_round = hubness.refresh(store, on_progress, n_jobs)
    if is_full_round or "scale" not in store.settings():
        store.put_setting("scale", calibration.calibrate(store))


def foreign_language_warning(store: Store) -> str:
    """Return a warning if many articles are in languages that the model was not trained on; else an empty text."""
    model = DenseModel(**store.settings()["model"])
    counts = {
        language: articles
        for language, (articles, _) in store.languages().items()
        if language != pipeline.UNDETERMINED_LANGUAGE
    }
    foreign = {name: count for name, count in counts.items() if model.languages and name not in model.languages}
    total, foreign_articles = store.count(), sum(foreign.values())
    if foreign_articles <= MAX_FOREIGN_SHARE * total:
        return ""
    names = ", ".join(f"{name} {count:,}" for name, count in list(foreign.items())[:8])
    is_covered = set(counts) <= set(MULTILINGUAL_MODEL_LANGUAGES.split())
    return (
        f"{foreign_articles:,} of {total:,} articles ({100 * foreign_articles / total:.0f} %) are in languages that "
        f"the model {model.name} does not know ({names}); their links follow from shared words more than from meaning. "
        f"Build the index anew with one that knows them: --model "
        f"{MULTILINGUAL_MODEL if is_covered else MOST_MULTILINGUAL_MODEL}."
    )


def _extract_terms_again(store: Store, ids: Sequence[str]) -> None:
    for start in range(0, len(ids), pipeline.BATCH_ARTICLES):
        batch = ids[start : start + pipeline.BATCH_ARTICLES]
        articles, hashes = store.articles(batch), store.content_hashes(batch)
        language = presumed_language(store)
        store.write([upsert(article, hashes[id].source, None, language) for id, article in articles.items()])
