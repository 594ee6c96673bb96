"""Cgroup: the memory limit, as version 1 and 2 of cgroups show it on a host and in a container."""

from __future__ import annotations

from pathlib import Path

import pytest

from penstock.worker.process.cgroup import read_memory_limit

NO_LIMIT_V1 = "9223372036854771712"


@pytest.mark.parametrize(
    ("groups", "files", "limit"),
    [
        ("0::/\n", {"memory.max": "314572800\n"}, 314_572_800),
        ("0::/\n", {"memory.max": "max\n"}, None),
        ("0::/a.slice/b.scope\n", {"a.slice/memory.max": "100\n", "a.slice/b.scope/memory.max": "max\n"}, 100),
        ("0::/a/b\n", {"a/memory.max": "200\n", "a/b/memory.max": "100\n"}, 100),
        ("0::/../../kubepods/pod1\n", {"memory.max": "300\n"}, 300),
        ("5:cpu:/\n4:memory:/\n0::/\n", {"memory/memory.limit_in_bytes": "400\n"}, 400),
        ("4:memory:/docker/1\n", {"memory/memory.limit_in_bytes": "500\n"}, 500),
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": f"{NO_LIMIT_V1}\n"}, None),
        ("4:cpu,memory:/a\n", {"memory/a/memory.limit_in_bytes": "600\n"}, 600),
        ("5:cpu:/\n", {"memory.max": "700\n"}, None),
        ("", {}, None),
    ],
)
def test_the_lowest_limit_at_or_above_the_group_counts(
    tmp_path: Path, groups: str, files: dict[str, str], limit: int | None
) -> None:
    (tmp_path / "cgroup").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "mount" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert read_memory_limit(tmp_path / "cgroup", tmp_path / "mount") == limit


def test_a_system_without_cgroups_has_no_limit(tmp_path: Path) -> None:
    assert read_memory_limit(tmp_path / "cgroup", tmp_path) is None
