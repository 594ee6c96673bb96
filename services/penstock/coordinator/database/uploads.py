"""Uploads whose files are sent one by one: created, filled by many requests at once, read by jobs, discarded.

A transaction that adds a file, creates a job of an upload or discards it locks the upload's row, so that none of these
happens during another.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict

from sqlalchemy import (
    BindParameter,
    Connection,
    RowMapping,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)

from penstock.coordinator.database.queries import slices
from penstock.coordinator.database.schema import jobs, upload_files, uploads
from penstock.coordinator.ports.repository import (
    ConflictError,
    OpenUploads,
    Scope,
    Upload,
    UploadFile,
    UploadNotFoundError,
)

FILES_PER_PAGE = 5_000

_INSERT = insert(uploads)
_INSERT_FILE = insert(upload_files).values(size=bindparam("size_bytes"))
_BY_ID = select(uploads).where(uploads.c.id == bindparam("upload"), ~uploads.c.dropped)
_LOCK = _BY_ID.with_for_update()
_NUMBER = select(uploads.c.number).where(uploads.c.id == bindparam("upload"), ~uploads.c.dropped).scalar_subquery()
_FILES = select(upload_files).where(upload_files.c.upload == _NUMBER)
_FILE = _FILES.where(upload_files.c.name == bindparam("name"))
_PAGE = _FILES.where(upload_files.c.name > bindparam("after")).order_by(upload_files.c.name).limit(bindparam("limit"))
_IS_READ = exists().where(jobs.c.upload == uploads.c.id)
_READING_JOB = select(jobs.c.id).where(jobs.c.upload == bindparam("upload")).limit(1)
_CHANGE = update(uploads).where(uploads.c.number == bindparam("upload_number"))
_AMONG_UPLOADS: BindParameter[str] = bindparam("uploads", expanding=True)
_TO_DISCARD = select(uploads.c.id, uploads.c.number).where(~uploads.c.dropped).order_by(uploads.c.id).with_for_update()
_READ_BY_JOBS = select(uploads.c.id).where(uploads.c.id.in_(_AMONG_UPLOADS), _IS_READ)
_IN_USE = (
    select(jobs.c.upload)
    .where(jobs.c.upload.in_(_AMONG_UPLOADS))
    .union(select(uploads.c.id).where(uploads.c.id.in_(_AMONG_UPLOADS), ~uploads.c.dropped))
)
_IS_OWN = uploads.c.owner == bindparam("owner")
_COUNT_OPEN = select(
    func.coalesce(func.sum(case((_IS_OWN, 1), else_=0)), 0),
    func.coalesce(func.sum(case((_IS_OWN, uploads.c.size), else_=0)), 0),
    func.count(),
    func.coalesce(func.sum(uploads.c.size), 0),
).where(~uploads.c.dropped, ~_IS_READ)
OPEN_BYTES = (
    select(uploads.c.owner, func.sum(uploads.c.size)).where(~uploads.c.dropped, ~_IS_READ).group_by(uploads.c.owner)
)
"""Bytes of the uploads that no job reads, of each owner who has any."""
_UNFINISHED_DELETIONS = select(uploads.c.number).where(uploads.c.dropped)
_OF_NUMBER = upload_files.c.upload == bindparam("number")
_END_OF_PAGE = select(upload_files.c.name).where(_OF_NUMBER).order_by(upload_files.c.name).limit(1)
_DELETE_PAGE = delete(upload_files).where(_OF_NUMBER, upload_files.c.name < bindparam("end"))
_DELETE_FILES = delete(upload_files).where(_OF_NUMBER)
_DELETE = delete(uploads).where(uploads.c.number == bindparam("number"))
_UPLOADS_PER_PAGE = 500


def lock_upload(connection: Connection, upload: str) -> RowMapping | None:
    """Lock an upload's row until the transaction ends; return it, None without one."""
    return connection.execute(_LOCK, {"upload": upload}).mappings().one_or_none()


def create_upload(connection: Connection, upload: Upload) -> None:
    row = {"id": upload.id, "changed_at": upload.changed_at, "dropped": False, "owner": upload.owner}
    connection.execute(_INSERT, {**row, "files": 0, "pictures": 0, "size": 0})


def get_upload(connection: Connection, upload: str, scope: Scope) -> Upload | None:
    row = connection.execute(_BY_ID, {"upload": upload}).mappings().one_or_none()
    if row is None or not scope.includes(row["owner"]):
        return None
    return Upload(row["id"], row["changed_at"], row["files"], row["pictures"], row["size"], row["owner"])


def add_file(connection: Connection, upload: str, file: UploadFile, at: float) -> UploadFile:
    row = lock_upload(connection, upload)
    if row is None:
        raise UploadNotFoundError(upload)
    earlier = get_file(connection, upload, file.name)
    if earlier is not None:
        return earlier
    if connection.execute(_READING_JOB, {"upload": upload}).first() is not None:
        raise ConflictError(f"upload {upload} is used by a job, so it accepts no more files")
    connection.execute(_INSERT_FILE, {"upload": row["number"], **asdict(file)})
    counts = {
        "files": row["files"] + 1,
        "pictures": row["pictures"] + (file.kind is not None),
        "size": row["size"] + file.size_bytes,
    }
    connection.execute(_CHANGE, {"upload_number": row["number"], "changed_at": at, **counts})
    return file


def get_file(connection: Connection, upload: str, name: str) -> UploadFile | None:
    row = connection.execute(_FILE, {"upload": upload, "name": name}).mappings().one_or_none()
    return None if row is None else _file_of(row)


def list_files(connection: Connection, upload: str, *, after: str = "", limit: int) -> list[UploadFile]:
    given = {"upload": upload, "after": after, "limit": limit}
    return [_file_of(row) for row in connection.execute(_PAGE, given).mappings()]


def discard(connection: Connection, upload: str | None, before: float | None) -> dict[str, int]:
    """Mark up to 500 uploads as deleted; return their ids and numbers. The caller then deletes their files."""
    query = _TO_DISCARD.limit(_UPLOADS_PER_PAGE)
    if upload is not None:
        query = query.where(uploads.c.id == upload)
    if before is not None:
        query = query.where(uploads.c.changed_at < before, ~_IS_READ)
    found: dict[str, int] = {row["id"]: row["number"] for row in connection.execute(query).mappings()}
    # Checked again now that their rows are locked: a job may have been created while this waited for a lock.
    for read in connection.execute(_READ_BY_JOBS, {"uploads": list(found)}).scalars():
        del found[read]
    if found:
        connection.execute(_CHANGE, [{"upload_number": number, "dropped": True} for number in found.values()])
    return found


def uploads_in_use(connection: Connection, uploads: Sequence[str]) -> set[str]:
    pages = (connection.execute(_IN_USE, {"uploads": list(page)}) for page in slices(uploads))
    return {upload for page in pages for upload in page.scalars()}


def count_open(connection: Connection, owner: str) -> OpenUploads:
    return OpenUploads(*(int(number) for number in connection.execute(_COUNT_OPEN, {"owner": owner}).one()))


def unfinished_deletions(connection: Connection) -> Iterable[int]:
    """Return the numbers of discarded uploads that still have files."""
    return connection.execute(_UNFINISHED_DELETIONS).scalars().all()


def delete_page(connection: Connection, number: int) -> bool:
    """Delete a page of a discarded upload's files; return whether more are left."""
    end = connection.execute(_END_OF_PAGE.offset(FILES_PER_PAGE), {"number": number}).scalar_one_or_none()
    if end is not None:
        connection.execute(_DELETE_PAGE, {"number": number, "end": end})
        return True
    connection.execute(_DELETE_FILES, {"number": number})
    connection.execute(_DELETE, {"number": number})
    return False


def _file_of(row: RowMapping) -> UploadFile:
    return UploadFile(row["name"], row["key"], row["size"], row["kind"], row["sha256"])
