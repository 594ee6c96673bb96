"""Files of this host: names that no other file has, and errors of a full disk."""

import errno
import os

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
