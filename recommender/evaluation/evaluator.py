"""The methods of `Recommender` that measure rankings: evaluate, and the report of a training."""

import os
from collections.abc import Callable, Mapping
from typing import Any, Unpack

from recommender.blocks.builder import check_length
from recommender.blocks.eligibility import Eligibility
from recommender.blocks.policy import Options, Settings
from recommender.blocks.signatures import lists_options
from recommender.evaluation import qrels as qrels_files
from recommender.evaluation.evaluate import Evaluation, evaluate
from recommender.learning.learn import LearnReport
from recommender.store import Store
from recommender.system.processes import check_n_jobs

OnCount = Callable[[int, int], None]


class Evaluator:
    """Measures the rankings of an index."""

    _store: Store

    def _eligibility(self, options: Options, *, defaults: Settings | None = None, plain: bool = False) -> Eligibility:
        raise NotImplementedError

    @lists_options
    def evaluate(
        self,
        qrels: str | os.PathLike[str] | Mapping[Any, Any] | Any | None = None,
        *,
        k: int = 10,
        blocks: bool = False,
        n_jobs: int | None = None,
        on_progress: OnCount | None = None,
        **options: Unpack[Options],
    ) -> Evaluation:
        """Measure the ranking, by each signal alone and by both, against editorial links or relevance judgements.

        Every article's plain ranking (see `links`) is evaluated to a depth of ten links. Without editorial links and
        judgements, only the usage of the archive is measured.

        A learned ranking (see `learn`) is evaluated as one more method, unless `ranking` is "content". It is
        cross-fitted: every query is ranked, and its block is built, by a model that has not seen the links from and to
        the query, as if the query were new. This trains five models and needs the extra `learn`. The usage of the
        archive is that of the ranking in use.

        Args:
            qrels: relevance judgements: a file in the format of TREC; a mapping of queries to the grades of articles,
                or to the ids of relevant articles; or a DataFrame (pandas, Polars) with the columns query, article and
                relevance. None for the archive's editorial links.
            k: the length of the blocks for which the usage of the archive is measured, 1 or more.
            blocks: also evaluate the blocks, as one more method. Their editorial links are left out where editorial
                links are the truth.
            n_jobs: the maximum number of processes: None and -1 for one per core, 1 for this process alone.
            on_progress: called with the number of articles ranked and the total.
            options: settings of these blocks, which override those stored with the index; any option but `ranking`
                implies `blocks`.

        Raises:
            SourceError: the file cannot be read, or a judgement is not valid.
            RecommenderError: no query is an article of the index, the index is empty, or a learned ranking is to be
                measured and LightGBM is not installed.
        """
        check_length(k)
        check_n_jobs(n_jobs)
        with self._store.snapshot():  # fails without an index, before the judgements are read
            eligibility = self._eligibility(options)
        blocks = blocks or bool(options.keys() - {"ranking"})
        truth = str(qrels) if isinstance(qrels, str | os.PathLike) else "relevance judgements"
        judgements = qrels_files.collect(qrels) if qrels is not None else None
        report = on_progress or (lambda done, total: None)
        return evaluate(
            self._store,
            judgements,
            truth,
            report,
            k=k,
            eligibility=eligibility if blocks else None,
            learned=eligibility.settings.ranking != "content",
            n_jobs=n_jobs,
        )

    def learn_report(self, report: LearnReport, *, on_progress: Callable[[str, int, int], None] | None = None) -> str:
        """Return a page in HTML on a result of `learn`.

        It contains nDCG@10 of each held-out article before and after, the learning curve, the importance of the
        features, and the blocks that improved most and that got worse. The curve and the importance are measured anew,
        which takes about as long as `learn`.

        Args:
            report: the result of `learn` on this index.
            on_progress: called with the stage, the number done and the total.

        Raises:
            RecommenderError: a package of the extras `report` and `learn` is not installed.
        """
        from recommender.evaluation import learn_report  # noqa: PLC0415 - only for a report

        return learn_report.render(self._store, report, on_progress)
