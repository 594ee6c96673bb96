"""Very many rows at once, by the shortest way of each database: around SQLAlchemy, which takes as long as they do."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Any

from sqlalchemy import ARRAY, Column, ColumnElement, Connection, Dialect, Integer, Table, any_, bindparam
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from penstock.coordinator.database.schema import images

Row = tuple[Any, ...]


class Among(ColumnElement[bool]):
    """Whether a column of whole numbers is among those of the parameter `ids`, given when it is executed.

    PostgreSQL takes them as one array: a thousand parameters would each have to be written into the statement. The
    array's numbers are as wide as the column's, or its index would not be used.
    """

    inherit_cache = True

    def __init__(self, column: Column[int]) -> None:
        self.column = column


class WrittenState(ColumnElement[str]):
    """An image's state in its row, for a condition beside `Among`; on PostgreSQL as no index has it.

    PostgreSQL, before it has counted a job's new states, would take the index by state for the narrower one of the
    two, and go through every queued image to find five. SQLite looks the ids up in that index, and would go through the
    whole job if the state were hidden from it.
    """

    inherit_cache = True
    type = images.c.state.type


@compiles(WrittenState)
def _name_state(_state: WrittenState, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(images.c.state, **options)


@compiles(WrittenState, "postgresql")
def _hide_state(_state: WrittenState, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(images.c.state + "", **options)


@compiles(Among)
def _list_ids(among: Among, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(among.column.in_(bindparam("ids", expanding=True)), **options)


@compiles(Among, "postgresql")
def _pass_array(among: Among, compiler: SQLCompiler, **options: Any) -> str:
    return compiler.process(among.column == any_(bindparam("ids", type_=ARRAY(Integer))), **options)


def insert_rows(connection: Connection, table: Table, columns: tuple[str, ...], rows: Iterable[Row]) -> None:
    """Insert rows of plain values, which stand in the order of `columns`.

    Raises:
        IntegrityError: a row breaks a constraint.
    """
    if connection.dialect.name == "postgresql":
        _copy(connection, f"COPY {table.name} ({', '.join(columns)}) FROM STDIN", rows)
    else:
        marks = ", ".join("?" for _ in columns)
        insert = f"INSERT INTO {table.name} ({', '.join(columns)}) VALUES ({marks})"  # noqa: S608 (our own names)
        connection.exec_driver_sql(insert, list(rows))


def update_rows(
    connection: Connection, table: Table, columns: tuple[str, ...], keys: tuple[str, ...], rows: Sequence[Row]
) -> None:
    """Set `columns` of the rows that `keys` name; a row of plain values has the columns first, then the keys."""
    if connection.dialect.name == "postgresql":
        values = dict(zip((*columns, *keys), map(list, zip(*rows, strict=True)), strict=True))
        connection.exec_driver_sql(_update_from_arrays(table, columns, keys, connection.dialect), values)
    else:
        changes, which = (", ".join(f"{name} = ?" for name in columns), " AND ".join(f"{name} = ?" for name in keys))
        update = f"UPDATE {table.name} SET {changes} WHERE {which}"  # noqa: S608 (our own names)
        connection.exec_driver_sql(update, list(rows))


@lru_cache(maxsize=8)
def _update_from_arrays(table: Table, columns: tuple[str, ...], keys: tuple[str, ...], dialect: Dialect) -> str:
    """Return one statement for any number of rows; arrays travel as binary (`%b`), which PostgreSQL reads fastest."""
    types = {name: table.c[name].type.compile(dialect).split(" COLLATE ")[0] for name in (*columns, *keys)}
    arrays = ", ".join(f"%({name})b::{kind}[]" for name, kind in types.items())
    changes = ", ".join(f"{name} = new.{name}" for name in columns)
    which = " AND ".join(f"{table.name}.{name} = new.{name}" for name in keys)
    new = f"unnest({arrays}) AS new({', '.join(types)})"
    return f"UPDATE {table.name} SET {changes} FROM {new} WHERE {which}"  # noqa: S608 (our own names)


def _copy(connection: Connection, statement: str, rows: Iterable[Row]) -> None:
    import psycopg  # which SQLite shall not wait for

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
