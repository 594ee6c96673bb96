"""Files of this host: names that no other file has, folders below others, and errors of a full disk."""

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT})
"""Errors of a full disk, or of a quota that is used up."""

_ONE_NAME = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK, errno.EXDEV})
"""Errors of file systems whose files have one name only, such as FAT."""


def name_new(
    source: str | os.PathLike[str],
    target: str | os.PathLike[str],
    *,
    source_folder: int | None = None,
    target_folder: int | None = None,
) -> None:
    """Give a file a second name, or where files have only one, another one. The folders are descriptors.

    Raises:
        FileExistsError: something has that name already; it stays as it is.
    """
    folders = {"src_dir_fd": source_folder, "dst_dir_fd": target_folder}
    try:
        os.link(source, target, **folders, follow_symlinks=False)
    except OSError as error:
        if error.errno not in _ONE_NAME:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=target_folder))
        os.rename(source, target, **folders)


def open_folder_below(
    folder: int,
    names: Iterable[str | bytes],
    flags: int = os.O_RDONLY,
    *,
    create: bool = False,
    check: Callable[[int], None] = lambda _: None,
) -> int:
    """Return a descriptor of a folder below another, which is closed, also after an error.

    Each folder is opened in the one before without following links, so that none that is swapped in leads elsewhere.
    With `create`, missing ones are made. `check` gets the descriptor of each, the first included, and raises to refuse.

    Raises:
        OSError: a folder is missing, a link or no folder.
    """
    flags |= os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        check(folder)
        for name in names:
            if create:
                with suppress(FileExistsError):
                    os.mkdir(name, dir_fd=folder)
            below = os.open(name, flags, dir_fd=folder)
            os.close(folder)
            folder = below
            check(folder)
    except BaseException:
        os.close(folder)
        raise
    return folder
