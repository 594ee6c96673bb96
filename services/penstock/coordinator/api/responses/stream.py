"""Stream: a response that is made while it is sent, and ends early, with one line in the log, if that fails."""

import logging
from collections.abc import AsyncIterator, Generator, Iterable, Mapping

import anyio
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool
from starlette.types import Receive, Scope, Send

from penstock.common.model.errors import PenstockError
from penstock.common.store.base import ObjectNotFoundError
from penstock.coordinator.auth.quotas import LongRequests
from penstock.coordinator.ports.refusals import not_found
from penstock.coordinator.ports.repository import JobNotFoundError

_log = logging.getLogger(__name__)


class IncompleteError(ValueError):
    """A file has not the size that was announced."""


_GONE = (ObjectNotFoundError, JobNotFoundError, IncompleteError)
"""What anybody can cause who deletes a job, or changes a file, while it is sent."""


class Stream(StreamingResponse):
    """Sends the chunks of an iterator; a caller has a limited number of these at a time.

    If there is an error before the first chunk, the response is a problem document. Later, the connection is closed
    without the end of the body, so that the client notices.
    """

    def __init__(
        self,
        content: Iterable[bytes],
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        media_type: str | None = None,
    ) -> None:
        super().__init__(content, status_code, headers, media_type)
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._path: str = scope["path"]
        downloads: LongRequests = scope["app"].state.downloads
        try:
            with downloads.hold(scope.get("state", {}).get("owner", "")):
                await super().__call__(scope, receive, send)
        finally:
            if isinstance(self._content, Generator):  # which holds a file
                with anyio.CancelScope(shield=True):
                    await run_in_threadpool(self._content.close)

    async def stream_response(self, send: Send) -> None:
        """Send everything, or as much as there is."""
        chunks: AsyncIterator[bytes] = aiter(self.body_iterator)  # type: ignore[arg-type]  # of bytes alone, see __init__
        try:
            first = await anext(chunks, b"")
        except _GONE as error:
            raise not_found("such file any more") from error
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        try:
            sent_bytes = await self._send_body(first, chunks, send)
        except (*_GONE, PenstockError, OSError) as error:
            _log.warning("%s ended early: %s", self._path, error)
            return
        if sent_bytes != int(self.headers.get("content-length", sent_bytes)):
            _log.warning("%s ended early: %d bytes of %s", self._path, sent_bytes, self.headers["content-length"])
            return
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _send_body(self, first: bytes, others: AsyncIterator[bytes], send: Send) -> int:
        sent_bytes = len(first)
        await send({"type": "http.response.body", "body": first, "more_body": True})
        async for chunk in others:
            sent_bytes += len(chunk)
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        return sent_bytes
