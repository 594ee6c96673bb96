"""Throughput: intervals that grow with the job."""

from __future__ import annotations

from penstock.coordinator.ports.throughput import MAX_INTERVALS, Throughput


def test_images_are_counted_in_the_interval_in_which_they_ended() -> None:
    throughput = Throughput()
    for at_secs, done, failed in ((0.2, 3, 0), (0.9, 2, 1), (3.0, 4, 0)):
        throughput.add(at_secs, done, failed)
    assert throughput == Throughput(1, [5, 0, 0, 4], [1, 0, 0, 0])
    assert Throughput.from_text(throughput.to_text()) == throughput


def test_a_long_job_has_longer_intervals_and_loses_no_image() -> None:
    throughput = Throughput()
    for second in range(10_000):
        throughput.add(second, 2, 1)
    assert throughput.interval_secs == 128
    assert len(throughput.done) == len(throughput.failed) <= MAX_INTERVALS
    assert (sum(throughput.done), sum(throughput.failed)) == (20_000, 10_000)
    assert len(throughput.to_text()) < 1_200


def test_without_images_there_is_no_text() -> None:
    assert Throughput().to_text() == ""
    assert Throughput.from_text("") == Throughput()
