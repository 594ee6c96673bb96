"""Summary of a local run."""

from __future__ import annotations

from penstock.common.model.messages import Result
from penstock.local.run import Summary


def failed(count: int, **fields: int) -> Summary:
    summary = Summary(**fields)
    for number in range(count):
        summary.fail(f"{number}.jpg", {"code": "corrupt_image", "message": "damaged", "step": "resize"})
    return summary


def test_exit_codes_tell_how_it_went() -> None:
    assert [Summary(done=3).exit_code, failed(1).exit_code, Summary(interrupted=True).exit_code] == [0, 1, 130]
    interrupted = failed(1)
    interrupted.interrupted = True
    assert interrupted.exit_code == 130


def test_the_summary_counts_what_there_is_and_names_what_failed() -> None:
    lines = failed(1, done=3, skipped=2, passed_over=1, seconds=2).lines("results")
    assert lines == [
        "3 done, 1 failed, 2 done before, 1 ignored in 2.0 s (2.0 images/s); results in results",
        "  0.jpg: corrupt_image: damaged",
    ]
    assert Summary().lines("out")[0].startswith("0 done, 0 failed in 0.0 s (0.0 images/s)")
    assert Summary(interrupted=True).lines("out")[0].startswith("interrupted: ")


def test_the_summary_says_what_results_lack_of_their_images() -> None:
    def result(*warnings: str) -> Result:
        return Result(
            key="k",
            name="x.jpg",
            size=1,
            media_type="image/jpeg",
            width=1,
            height=1,
            sha256="0" * 64,
            warnings=warnings,
        )

    summary = Summary()
    summary.finish([result("depth_reduced"), result("depth_reduced", "profile_invalid")])
    summary.finish([result("depth_reduced")])
    summary.finish([result()])
    assert summary.done == 3
    assert summary.warnings == {"depth_reduced": 2, "profile_invalid": 1}
    assert summary.lines("out")[1:] == [
        "  warnings: depth_reduced (2), profile_invalid (1); the manifest has them by result"
    ]


def test_many_failures_are_counted_a_thousand_kept_and_twenty_shown() -> None:
    summary = failed(5_000)
    assert (summary.failed, len(summary.failures)) == (5_000, 1_000)
    lines = summary.lines("out")
    assert len(lines) == 22
    assert lines[-1] == "  … and 4980 more, all in the manifest"


def test_names_of_any_bytes_can_be_written_to_any_terminal() -> None:
    summary = Summary()
    summary.fail("caf\udce9.jpg", {"code": "internal", "message": "", "step": ""})
    assert all(line.encode("utf-8") for line in summary.lines("re\udce9sults"))
