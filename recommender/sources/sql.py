"""A query to a database, one article a row; any database that SQLAlchemy speaks to."""

from collections.abc import Iterator, Mapping

from recommender.errors import SourceError
from recommender.sources import record
from recommender.sources.entry import Entry

_ROWS = 256  # fetched at once


def url_without_password(url: str) -> str:
    """Return the URL of a database without its password.

    Raises:
        SourceError: it is none, or SQLAlchemy is not installed.
    """
    try:
        from sqlalchemy.engine import make_url  # noqa: PLC0415 - an extra
        from sqlalchemy.exc import ArgumentError  # noqa: PLC0415
    except ImportError as error:
        raise SourceError(
            "To read from a database, install what speaks to it: pip install 'recommender[sql]', and the driver that "
            "SQLAlchemy names for it."
        ) from error
    try:
        return make_url(url).render_as_string(hide_password=True)
    except (ArgumentError, ValueError) as error:
        raise SourceError(
            "The URL of the database cannot be read. It has the form postgresql://USER:PASSWORD@HOST/NAME or "
            "sqlite:///FILE."
        ) from error


def read(url: str, query: str, fields: Mapping[str, str], *, strict: bool = False) -> Iterator[Entry]:
    """Read the articles that a query returns, in a stream; `fields` and `strict` as in `File`."""
    import sqlalchemy  # noqa: PLC0415 - an extra
    from sqlalchemy.exc import NoSuchModuleError, SQLAlchemyError  # noqa: PLC0415

    name, row = url_without_password(url), 0
    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            result = connection.execution_options(stream_results=True, yield_per=_ROWS).execute(sqlalchemy.text(query))
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
            f"there is no driver for this database ({error}); the URL begins as SQLAlchemy has it, postgresql:// or "
            f"mysql+pymysql://, and the driver has to be installed"
        )
        yield Entry(name, problems=(problem,), unknown=True, failed=True)
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None) or error
        problem = f"the query cannot be answered from here on ({' '.join(str(cause).split())[:300]})"
        yield Entry(f"{name}: row {row + 1}", problems=(problem,), unknown=True, failed=True)
