"""Jobs and steps as people see them."""

from __future__ import annotations

from penstock.cli.formatting import (
    printable,
    show_end,
    show_failures,
    show_job,
    show_jobs,
    show_operations,
    show_steps,
    show_webhook,
    table,
)
from penstock.client.models import (
    Advice,
    Counts,
    Delivery,
    Image,
    ImageError,
    Job,
    Notice,
    Operation,
    Step,
    StepProgress,
    Webhook,
)

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
)


def test_a_table_has_columns_as_wide_as_needed_and_numbers_to_the_right():
    assert table(("NAME", "COUNT"), [("a", 5), ("longer", 12), ("b", None)]) == (
        "NAME    COUNT\na           5\nlonger     12\nb           –"
    )


def test_nothing_that_a_server_says_moves_the_cursor():
    assert printable("a\x1b[31mb\r\nc") == "a\ufffd[31mb\ufffd\ufffdc"
    assert "\x1b" not in show_job(JOB) + show_jobs([JOB])


def test_a_job_is_shown_with_its_steps_and_what_holds_it_back():
    lines = show_job(JOB).split("\n")
    assert lines[1:3] == ["running: 2 pending, 6 done, 1 failed", "3.2 images/s, 8 s to go"]
    assert lines[4].split() == ["blur", "2", "0", "6", "1", "1.2", "holds", "it", "back"]
    assert lines[5].split() == ["encode", "0", "0", "0", "0", "0.0"]


def test_the_end_of_a_job_is_one_line_and_its_first_failures_are_named():
    assert show_end(JOB) == "job 01m8 running: 6 done, 1 failed in 10.0 s"
    failed = Image(id=1, name="b\n.jpg", state="failed", error=ImageError(code="corrupt_image", message="damaged"))
    assert show_failures([failed], 1) == ["  b\ufffd.jpg: corrupt_image: damaged"]
    assert show_failures([failed], 5)[-1] == "  … and 4 more"


def test_a_webhook_is_shown_with_its_last_notice_and_last_attempt():
    webhook = Webhook(receiver="https://hooks.example")
    away = Delivery(at="2026-01-02T03:04:05Z", status=500, error="answered 500")
    came = Delivery(at="2026-01-02T03:04:15Z", status=204)

    def show(*notices: Notice) -> str:
        [line] = show_webhook(webhook, notices)
        return line.removeprefix("webhook https://hooks.example: ")

    def notice(state: str, *deliveries: Delivery, **more: str) -> Notice:
        return Notice(id="j-0", job_state="partial", state=state, deliveries=list(deliveries), **more)

    assert show_webhook(None, []) == []
    assert show() == "to be told of the end"
    assert show(notice("waiting", next_at=came.at)).startswith("waiting; next at 2026-01-0")
    assert show(notice("waiting", away, next_at=came.at)).endswith("answered 500")
    delivered = show(notice("delivered", away, came), notice("given_up", away))
    assert delivered.startswith("delivered; 2 attempts, the last at 2026-01-0")
    assert "500" not in delivered
    assert show(notice("given_up", away)).startswith("given up; 1 attempt, ")


def test_advice_stands_below_the_steps_with_its_command():
    advice = Advice(sentence="blur: no worker", step="blur", command="kubectl scale deployment/penstock-blur")
    shown = show_steps([Step(name="blur")], advice)
    assert shown.split("\n")[-3:] == ["", "blur: no worker", "kubectl scale deployment/penstock-blur"]


def test_steps_that_were_not_measured_yet_have_gaps():
    text = show_steps(
        [
            Step(name="blur", workers=2, utilisation=0.5, bottleneck=True),
            Step(name="encode", workers=1, replicas={"desired": 3, "ready": 2}),
        ]
    )
    blur, encode = text.split("\n")[1:]
    assert blur.split() == ["blur", "2", "0", "0", "0", "–", "–", "50%", "holds", "all", "back"]
    assert encode.split() == ["encode", "1", "of", "3", "0", "0", "0", "–", "–", "–"]


def test_operations_are_shown_as_the_command_line_takes_them():
    operations = [
        Operation(name="resize", description="Scale.\nMore.", example={"short": ["resize", "512x512"]}),
        Operation(name="split", example={"short": ["split", True]}),
        Operation(name="own"),
    ]
    lines = show_operations(operations).split("\n")[1:]
    assert [line.rstrip() for line in lines] == [
        "resize     --op resize=512x512  Scale.",
        "split      --op split",
        "own        --op own",
    ]
