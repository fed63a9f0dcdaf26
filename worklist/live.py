"""Telling open pages that something changed: one look at the database for all of them, server-sent events to each.

Every change of a study writes an ``event`` row, so its highest number is the mark of a change. One task asks for it
while pages listen; each page then fetches what it shows. A page that hears nothing for a while says that it is old.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from worker.rows.events import LISTED, VIEWED
from worker.rows.site_tables import Event
from worklist.login import reader_of
from worklist.site import Site

logger = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)
LOOK_SECONDS = 1.0
SIGN_OF_LIFE_SECONDS = 5.0
LONGEST_STREAM_SECONDS = 1800.0
"""Then the browser connects again, and the login is asked for again."""
MOST_LISTENERS = 500


class LiveFeed:
    """Looks for changes while somebody listens, and wakes those who do."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._listeners: set[asyncio.Queue[str]] = set()
        self._looking: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def full(self) -> bool:
        """Whether no more pages can listen."""
        return len(self._listeners) >= MOST_LISTENERS

    async def listen(self) -> AsyncGenerator[str]:
        """Give server-sent events until the feed closes: ``changed``, ``alive``, or ``broken`` without a database."""
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        if self._looking is None or self._looking.done():
            self._looking = asyncio.create_task(self._look())
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST_STREAM_SECONDS
        try:
            yield "retry: 2000\nevent: alive\ndata:\n\n"
            while not self._closed and loop.time() < until:
                yield f"event: {await queue.get()}\ndata:\n\n"
        finally:
            self._listeners.discard(queue)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        self._tell("alive")

    def _tell(self, news: str) -> None:
        for queue in self._listeners:
            if queue.qsize() < 2:  # a page that is slow to read needs no more than one more word
                queue.put_nowait(news)

    async def _look(self) -> None:
        seen: int | None = None
        quiet_seconds = 0.0
        while self._listeners and not self._closed:
            try:
                mark = await run_in_threadpool(self._mark)
            except SQLAlchemyError as error:
                logger.error("the database does not answer the live feed (%s)", type(error).__name__)
                self._tell("broken")
                seen = None
            else:
                changed = mark != seen and seen is not None
                quiet_seconds += LOOK_SECONDS
                if changed or quiet_seconds >= SIGN_OF_LIFE_SECONDS or seen is None:
                    self._tell("changed" if changed else "alive")
                    quiet_seconds = 0.0
                seen = mark
            await asyncio.sleep(LOOK_SECONDS)

    def _mark(self) -> int:
        with self._site.reading() as session:
            changes = select(Event.id).where(Event.kind.not_in((VIEWED, LISTED)))  # looking changes nothing
            return session.scalar(changes.order_by(Event.id.desc()).limit(1)) or 0


@router.get("/live")
async def live(request: Request, reader: Annotated[str, Depends(reader_of)]) -> StreamingResponse:
    """The stream of an open page."""
    feed: LiveFeed = request.app.state.live
    if feed.full:
        return StreamingResponse(iter(()), status_code=503)

    async def stream() -> AsyncIterator[str]:
        async with contextlib.aclosing(feed.listen()) as events:
            async for event in events:
                yield event

    return StreamingResponse(stream(), media_type="text/event-stream", headers={"X-Accel-Buffering": "no"})
