"""Formatting of jobs, steps and operations."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from penstock.cli.formatting import (
    format_deadline,
    format_failures,
    format_job,
    format_jobs,
    format_operations,
    format_outcome,
    format_steps,
    format_usage,
    format_webhook,
    printable,
    table,
)
from penstock.common.model.rest import (
    Advice,
    Counts,
    Delivery,
    Image,
    ImageError,
    Job,
    JobForecast,
    Notice,
    Operation,
    Step,
    StepProgress,
    StoredBytes,
    Usage,
    WebhookSummary,
)

URL = "http://server/v1/jobs/01m8"
JOB = Job(
    id="01m8",
    state="running",
    name="a\x1b[31mb",
    created_at="2026-01-02T03:04:05Z",
    started_at="2026-01-02T03:04:05Z",
    finished_at="2026-01-02T03:04:15Z",
    images=Counts(total=9, done=6, failed=1, pending=2),
    steps=[StepProgress(step="blur", waiting=2, done=6, failed=1, work_seconds=1.25), StepProgress(step="encode")],
    images_per_second=3.21,
    eta_seconds=7.6,
    bottleneck="blur",
    operations=[{"op": "blur", "method": "median"}, {"op": "encode", "format": "png", "progressive": False}],
)


def test_a_table_is_aligned_with_numbers_to_the_right() -> None:
    assert table(("NAME", "COUNT"), [("a", 5), ("longer", 12), ("b", None)]) == (
        "NAME    COUNT\na           5\nlonger     12\nb           –"
    )


def test_control_characters_from_a_server_are_not_printed() -> None:
    assert printable("a\x1b[31mb\r\nc") == "a\ufffd[31mb\ufffd\ufffdc"
    assert "\x1b" not in format_job(JOB, URL) + format_jobs([JOB])


def test_a_job_is_shown_with_its_steps_and_bottleneck() -> None:
    lines = format_job(JOB, URL).split("\n")
    assert lines[1:3] == [URL, "blur method median → encode format png"]
    assert lines[3].startswith("created 2026-01-02 ")
    assert lines[4:6] == ["running: 2 pending, 6 done, 1 failed", "3.2 images/s, 8 s left"]
    assert lines[7].split() == ["blur", "2", "0", "6", "1", "1.2", "bottleneck"]
    assert lines[8].split() == ["encode", "0", "0", "0", "0", "0.0"]


def test_what_a_job_and_a_step_wait_for_is_shown() -> None:
    waits = JOB.model_copy(update={"waiting_for": "store full (12 kB free)", "images_per_second": None})
    assert "waiting for: store full (12 kB free)" in format_job(waits, URL).split("\n")
    step = Step(name="blur", workers=4, waiting_workers=3, waiting_for="store full (12 kB free)", bottleneck=True)
    assert format_steps([step]).endswith("  bottleneck, 3 waiting for: store full (12 kB free)")


def test_what_is_stored_of_a_job_and_when_it_expires_is_shown() -> None:
    stored = JOB.model_copy(update={"upload_bytes": 12_345_678, "result_bytes": 999, "expire_after_seconds": 90_000.0})
    lines = format_job(stored, URL).split("\n")
    assert lines[5:7] == ["stored: 12 MB of uploads, 999 B of results", "expires 1 day, 1:00:00 after its end"]
    expiring = stored.model_copy(update={"expires_at": datetime(2030, 1, 2, tzinfo=UTC)})
    assert format_job(expiring, URL).split("\n")[6].startswith("expires 2030-01-0")
    assert "12 MB" in format_jobs([expiring])


def test_usage_is_a_table_of_owners_and_all_together() -> None:
    delft = StoredBytes(owner="delft", jobs=2, upload_bytes=5_000, result_bytes=7, max_bytes=10**9)
    usage = Usage(owners=[delft], total=StoredBytes(jobs=2, upload_bytes=5_000, result_bytes=7))
    rows = [line.split() for line in format_usage(usage).split("\n")]
    assert rows[1:] == [["delft", "2", "5", "kB", "7", "B", "1", "GB"], ["all", "2", "5", "kB", "7", "B", "–"]]


def test_the_outcome_of_a_job_is_one_line_followed_by_its_first_failures() -> None:
    assert format_outcome(JOB) == "job 01m8 running: 6 done, 1 failed in 10.0 s"
    failed = Image(id=1, name="b\n.jpg", state="failed", error=ImageError(code="corrupt_image", message="damaged"))
    assert format_failures([failed], 1) == ["  b\ufffd.jpg: corrupt_image: damaged"]
    assert format_failures([failed], 5)[-1] == "  … and 4 more"


def test_a_webhook_is_shown_with_its_last_notice_and_last_attempt() -> None:
    webhook = WebhookSummary(receiver="https://hooks.example")
    failed = Delivery(at="2026-01-02T03:04:05Z", status=500, error="answered 500")
    delivered = Delivery(at="2026-01-02T03:04:15Z", status=204)

    def show(*notices: Notice) -> str:
        [line] = format_webhook(webhook, notices)
        return line.removeprefix("webhook https://hooks.example: ")

    def notice(state: str, *deliveries: Delivery, **more: str) -> Notice:
        return Notice(id="j-0", job_state="partial", state=state, deliveries=list(deliveries), **more)

    assert format_webhook(None, []) == []
    assert show() == "will be called when the job ends"
    assert show(notice("waiting", next_at=delivered.at)).startswith("waiting; next at 2026-01-0")
    assert show(notice("waiting", failed, next_at=delivered.at)).endswith("answered 500")
    shown = show(notice("delivered", failed, delivered), notice("given_up", failed))
    assert shown.startswith("delivered; 2 attempts, the last at 2026-01-0")
    assert "500" not in shown
    assert show(notice("given_up", failed)).startswith("given up; 1 attempt, ")


def test_advice_is_shown_below_the_steps_with_its_command() -> None:
    advice = Advice(sentence="blur: no worker", step="blur", command="kubectl scale deployment/penstock-blur")
    shown = format_steps([Step(name="blur")], advice)
    assert shown.split("\n")[-3:] == ["", "blur: no worker", "kubectl scale deployment/penstock-blur"]


def test_unmeasured_values_of_a_step_are_shown_as_a_dash() -> None:
    text = format_steps(
        [
            Step(name="blur", workers=2, utilisation=0.5, bottleneck=True),
            Step(name="encode", workers=1, replicas={"desired": 3, "ready": 2}),
        ]
    )
    blur, encode = text.split("\n")[1:]
    assert blur.split() == ["blur", "2", "0", "0", "0", "–", "–", "50%", "bottleneck"]
    assert encode.split() == ["encode", "1", "of", "3", "0", "0", "0", "–", "–", "–"]


def test_operations_are_shown_in_the_syntax_of_the_command_line() -> None:
    operations = [
        Operation(name="resize", description="Scale.\nMore.", example={"short": ["resize", "512x512"]}),
        Operation(name="split", example={"short": ["split", True]}),
        Operation(name="own"),
    ]
    lines = format_operations(operations).split("\n")[1:]
    assert [line.rstrip() for line in lines] == [
        "resize     --op resize=512x512  Scale.",
        "split      --op split",
        "own        --op own",
    ]


def test_a_job_with_a_deadline_shows_what_is_expected_and_whether_it_was_met() -> None:
    at = datetime(2026, 11, 29, 12, tzinfo=UTC)
    forecast = JobForecast(finishes_at=at - timedelta(minutes=5), feasible=True, replicas={"blur": 6}, price=0.251)
    job = Job(id="a", state="running", created_at=at, deadline=at, forecast=forecast)
    [line] = format_deadline(job)
    assert line.startswith("deadline 2026-")
    assert line.endswith("replicas blur 6; price 0.25")
    assert "not possible" not in line
    late = job.model_copy(update={"forecast": forecast.model_copy(update={"feasible": False})})
    assert "; not possible;" in format_deadline(late)[0]
    unknown = job.model_copy(update={"forecast": JobForecast(), "max_price": 2.5})
    assert format_deadline(unknown)[0].endswith("highest price 2.5; not predicted yet")
    for minutes, outcome in ((-1, "met"), (1, "missed")):
        ended = job.model_copy(update={"finished_at": at + timedelta(minutes=minutes)})
        assert format_deadline(ended)[0].endswith(f"; {outcome}")
    assert format_deadline(Job(id="a", state="running", created_at=at)) == []
