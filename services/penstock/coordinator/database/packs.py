"""Packs: images of large jobs that have no rows of their own yet.

Rows with four indexes take several times as long to write as to find what is in them, and a client waits meanwhile.
So after a job's first batch, pending images are compressed, some thousands in a row of `packs`, and the leader unpacks
them once workers are busy with the first ones. Reads find packed images, too. Those by a name or stem read all packs of
the job, because no index has them.
"""

import json
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import fields
from itertools import islice
from operator import attrgetter
from typing import Any

from sqlalchemy import BigInteger, Connection, bindparam, delete, insert, select, update

from penstock.common.model.jobs import ImageState
from penstock.coordinator.database.backends.bulk import Row, inserter
from penstock.coordinator.database.schema import images, jobs, packs
from penstock.coordinator.ports.repository import Image

_LEVEL = 1
_PENDING = ImageState.PENDING.value
_PACKED = ("id", "name", "stem", "ref", "size")
_COLUMNS = ("job", "state", *_PACKED)
_rest = attrgetter(*(field.name for field in fields(Image) if field.name not in _PACKED))
_PLAIN = _rest(Image(0, "", "", ""))
_OF_JOB = packs.c.job == bindparam("number")
_INSERT = insert(packs)
_COUNT = update(jobs).where(jobs.c.number == bindparam("job_number")).values(packed=jobs.c.packed + bindparam("more"))
_FIRST = (
    select(jobs.c.number, packs.c.last, packs.c.images)
    .where(jobs.c.id == bindparam("job"), packs.c.job == jobs.c.number)
    .order_by(packs.c.last)
    .limit(1)
    .with_for_update(of=packs)
)
_DELETE = delete(packs).where(_OF_JOB, packs.c.last == bindparam("at"))
_DELETE_ALL = delete(packs).where(packs.c.job.in_(bindparam("numbers", expanding=True)))
_AFTER = (
    select(packs.c.last, packs.c.images)
    .where(_OF_JOB, packs.c.last > bindparam("after", type_=BigInteger))
    .order_by(packs.c.last)
    .limit(1)
)


def may_be_packed(image: Image) -> bool:
    """Return whether an image is as most are when they arrive: pending, and with nothing that is not packed."""
    return bool(_rest(image) == _PLAIN)


def pack(connection: Connection, number: int, batch: Sequence[Image]) -> None:
    """Add images that may be packed, in the order of their ids, to a job that is being received."""
    rows = [(image.id, image.name, image.stem, image.ref, image.size) for image in batch]
    data = zlib.compress(json.dumps(rows).encode(), _LEVEL)
    connection.execute(_INSERT, {"job": number, "last": batch[-1].id, "images": data})
    connection.execute(_COUNT, {"job_number": number, "more": len(batch)})


def unpack_images(connection: Connection, job: str) -> int:
    found = connection.execute(_FIRST, {"job": job}).one_or_none()
    if found is None:
        return 0
    rows = [(found.number, _PENDING, *each) for each in _read(found.images)]
    inserter(connection, images, _COLUMNS)(rows)
    connection.execute(_DELETE, {"number": found.number, "at": found.last})
    connection.execute(_COUNT, {"job_number": found.number, "more": -len(rows)})
    return len(rows)


def delete_packs(connection: Connection, *numbers: int) -> None:
    """Delete the packs of jobs."""
    connection.execute(_DELETE_ALL, {"numbers": numbers})


def packed_images(connection: Connection, number: int, state: ImageState, after: int, limit: int) -> list[Image]:
    """Return the first packed images of a job with an id greater than `after`. `state` is that of all of them."""
    return [_image(row, state) for row in islice(_rows(connection, number, after), limit)]


def find_packed(connection: Connection, number: int, state: ImageState, **which: Any) -> Image | None:
    """Return the packed image of a job with an `id`, `name` or `stem`; None if there is none."""
    [(column, value)] = which.items()
    position, after = _PACKED.index(column), value - 1 if column == "id" else -1
    found = (row for row in _rows(connection, number, after) if row[position] == value)
    return next((_image(row, state) for row in found), None)


def _rows(connection: Connection, number: int, after: int) -> Iterator[Row]:
    """Yield packed rows with an id greater than `after`; one pack at a time is in memory."""
    while found := connection.execute(_AFTER, {"number": number, "after": after}).one_or_none():
        yield from (row for row in _read(found.images) if row[0] > after)
        after = found.last


def _read(data: bytes) -> list[Row]:
    rows: list[Row] = json.loads(zlib.decompress(data))
    return rows


def _image(row: Row, state: ImageState) -> Image:
    image, name, stem, ref, size = row
    return Image(image, name, stem, ref, state, size)
