"""Reader for the result of an SQL query, one article per row; supports the databases of SQLAlchemy."""

from collections.abc import Iterator, Mapping

from recommender.errors import SourceError
from recommender.sources import record
from recommender.sources.entry import Entry

_BATCH_ROWS = 256  # fetched at once


def url_without_password(url: str) -> str:
    """Return the URL of a database without its password.

    Raises:
        SourceError: `url` is no database URL, or SQLAlchemy is not installed.
    """
    try:
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - an extra
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(
            "To read from a database, install SQLAlchemy with pip install 'recommender[sql]', and the driver that "
            "SQLAlchemy uses for this database."
        ) from error
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError) as error:
        raise SourceError(
            "The URL of the database cannot be read. It has the form postgresql://USER:PASSWORD@HOST/NAME or "
            "sqlite:///FILE."
        ) from error


def read(url: str, query: str, fields: Mapping[str, str], *, strict: bool = False) -> Iterator[Entry]:
    """Stream the articles that a query returns.

    Args:
        url: an SQLAlchemy URL.
        query: an SQL query that returns one article per row.
        fields: see `File`.
        strict: see `File`.
    """
    import sqlalchemy  # noqa: PLC0415 - an extra
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError  # noqa: PLC0415

    name, row = url_without_password(url), 0
    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True, yield_per=_BATCH_ROWS).execute(
                sqlalchemy.text(query)
            )
            names = tuple(result.keys())
            if strict and (problem := record.missing_columns(names, fields)):
                yield Entry(name, problems=(problem,), unknown=True, failed=True)
                return
            for row, values in enumerate(result.mappings(), start=1):
                where = f"{name}: row {row}"
                try:
                    plain = {
                        column: value for column, value in record.json_value(dict(values)).items() if value is not None
                    }
                except ValueError as error:
                    yield Entry(where, problems=(str(error),), unknown=True)
                    continue
                yield record.record_entry(where, plain, fields=fields, columns=names)
    except (NoSuchModuleError, ImportError) as error:
        problem = (
            f"there is no driver for this database ({error}); install it, and begin the URL with SQLAlchemy's name for "
            f"it, such as postgresql:// or mysql+pymysql://"
        )
        yield Entry(name, problems=(problem,), unknown=True, failed=True)
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        problem = f"the query failed, and rows from here on were not read ({' '.join(str(cause).split())[:300]})"
        yield Entry(f"{name}: row {row + 1}", problems=(problem,), unknown=True, failed=True)
