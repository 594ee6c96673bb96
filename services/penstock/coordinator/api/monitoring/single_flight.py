"""Asking what may be away, by those who have less time than it takes to find that out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class SingleFlight(Generic[T]):
    """One question, put by one thread at a time: many may want to know, however long the answer takes.

    May be used from any thread.
    """

    def __init__(self, question: Callable[[], T]) -> None:
        self._question = question
        self._lock = threading.Lock()
        self._under_way: Future[T] | None = None

    def ask(self) -> Future[T]:
        """Return the answer to come: to the question as it is under way already, or else put now."""
        with self._lock:
            if self._under_way is None:
                self._under_way = Future()
                # Daemonic, and so of no pool: what does not answer is to keep nobody from leaving.
                threading.Thread(target=self._answer, args=(self._under_way,), name="asking", daemon=True).start()
            return self._under_way

    def _answer(self, answer: Future[T]) -> None:
        try:
            answer.set_result(self._question())
        except BaseException as error:  # whoever asked is told, whatever it is
            answer.set_exception(error)
        finally:
            with self._lock:
                self._under_way = None
