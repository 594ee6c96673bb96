"""Bulk statements for very many or very large rows, by each database's fastest way."""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache, partial
from typing import Any

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Dialect, Integer, Table, TypeDecorator, bindparam, func
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.visitors import InternalTraversal

from penstock.coordinator.database.schema import images

Row = tuple[Any, ...]


class Among(ColumnElement[bool]):
    """Whether an integer column has one of the values of the parameter `ids`.

    PostgreSQL takes them as one array instead of a thousand parameters. Its items have the same width as the column,
    or the column's index would not be used. It also gets their range: without statistics of a new job, it expects the
    job to be small, and would read every image of it to find five.
    """

    inherit_cache = True
    # Else a statement with it is compiled again each time, which takes longer than the rest of it.
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]  # noqa: RUF012 (as SQLAlchemy declares it)

    def __init__(self, column: Column[int]) -> None:
        self.column = column


class _Ascending(TypeDecorator[list[int]]):
    """An array of integers in ascending order: its range is from the first to the last."""

    impl = ARRAY(Integer)
    cache_ok = True

    def process_bind_param(self, value: Iterable[int] | None, dialect: Dialect) -> list[int]:  # noqa: ARG002
        return sorted(value or ())


class WrittenState(ColumnElement[str]):
    """An image's stored state, for a condition combined with `Among`. On PostgreSQL no index is used for it.

    Before PostgreSQL has statistics of a job's new states, it would expect the index by state to be more selective than
    the ids, and read every queued image to find five. SQLite looks up the ids in that index, and would read the whole
    job without it.
    """

    inherit_cache = True
    _traverse_internals = []  # noqa: RUF012
    type = images.c.state.type


class StoredSize(ColumnElement[int]):
    """The size of a text, 0 for null: in bytes on PostgreSQL, which looks it up, and in characters on SQLite."""

    inherit_cache = True
    _traverse_internals = [("column", InternalTraversal.dp_clauseelement)]  # noqa: RUF012
    type = Integer()

    def __init__(self, column: Column[str]) -> None:
        self.column = column


@compiles(StoredSize)
def _compile_size(size: StoredSize, compiler: SQLCompiler, **options: Any) -> str:
    measure = func.octet_length if compiler.dialect.name == "postgresql" else func.length
    return compiler.process(func.coalesce(measure(size.column), 0), **options)


@compiles(WrittenState)
def _compile_state(_state: WrittenState, compiler: SQLCompiler, **options: Any) -> str:
    is_postgresql = compiler.dialect.name == "postgresql"
    return compiler.process(images.c.state + "" if is_postgresql else images.c.state, **options)


@compiles(Among)
def _compile_among(among: Among, compiler: SQLCompiler, **options: Any) -> str:
    if compiler.dialect.name == "postgresql":
        column = compiler.process(among.column, **options)
        ids = compiler.process(bindparam("ids", type_=_Ascending()), **options)
        return f"({column} = ANY ({ids}) AND {column} BETWEEN ({ids})[1] AND ({ids})[cardinality({ids})])"
    return compiler.process(among.column.in_(bindparam("ids", expanding=True)), **options)


def inserter(connection: Connection, table: Table, columns: tuple[str, ...]) -> Callable[[list[Row]], object]:
    """Return what inserts rows of plain values in the order of `columns`.

    It raises IntegrityError if a row violates a constraint.
    """
    if connection.dialect.name == "postgresql":
        return partial(_copy_rows, connection, table, columns)
    marks = ", ".join("?" for _ in columns)
    insert = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 (no user input)
    return partial(connection.exec_driver_sql, insert)


def update_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], keys: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Update `columns` of the rows with the given `keys`. Each row has the values of the columns, then the keys."""
    if connection.dialect.name == "postgresql":
        values = dict(zip((*columns, *keys), map(list, zip(*rows, strict=True)), strict=True))
        connection.exec_driver_sql(_update_from_arrays(table, columns, keys, connection.dialect), values)
    else:
        changes, which = (", ".join(f"{name} = ?" for name in columns), " AND ".join(f"{name} = ?" for name in keys))
        update = f"UPDATE {table.name} SET {changes} WHERE {which}"  # noqa: S608 (no user input)
        connection.exec_driver_sql(update, list(rows))


@lru_cache(maxsize=8)
def _update_from_arrays(table: Table, columns: tuple[str, ...], keys: tuple[str, ...], dialect: Dialect) -> str:
    """Return one statement for any number of rows. Arrays are sent as binary (`%b`), which is fastest to parse."""
    types = {name: table.c[name].type.compile(dialect).split(" COLLATE ")[0] for name in (*columns, *keys)}
    arrays = ", ".join(f"%({name})b::{kind}[]" for name, kind in types.items())
    changes = ", ".join(f"{name} = new.{name}" for name in columns)
    which = " AND ".join(f"{table.name}.{name} = new.{name}" for name in keys)
    new = f"unnest({arrays}) AS new({', '.join(types)})"
    return f"UPDATE {table.name} SET {changes} FROM {new} WHERE {which}"  # noqa: S608 (no user input)


def _copy_rows(connection: Connection, table: Table, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    import psycopg  # not needed for SQLite, and slow to import

    statement = f"COPY {table.name} ({', '.join(columns)}) FROM STDIN"
    driver = connection.connection.driver_connection
    assert isinstance(driver, psycopg.Connection)
    try:
        with driver.cursor() as cursor, cursor.copy(statement.encode()) as copy:
            for row in rows:
                copy.write_row(row)
    except psycopg.IntegrityError as error:
        raise IntegrityError(statement, None, error) from error
    except psycopg.Error as error:
        raise DBAPIError(statement, None, error) from error
