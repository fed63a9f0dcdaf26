"""Telling open pages that something changed: one look at the database for all of them, server-sent events to each.

Every change of a study writes an ``event`` row, so its highest number is the mark of a change. One task asks for it
while pages listen; each page then fetches what it shows. A page says by what mark it was made, so that what changed
while it was on its way is told at once. A page that hears nothing for a while says that it is old.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request
from fastapi.responses import Response, StreamingResponse
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from worker.rows.events import LISTED, VIEWED
from worker.rows.site_tables import Event
from worklist.login import is_logged_in, reader_of
from worklist.methods import is_bodiless
from worklist.site import Site

logger = logging.getLogger(__name__)
router = APIRouter(include_in_schema=False)
LOOK_SECONDS = 1.0
SIGN_OF_LIFE_SECONDS = 5.0
LONGEST_STREAM_SECONDS = 1800.0
"""Then the browser connects again, and the login is asked for again."""
MOST_LISTENERS = 500
EVENT_STREAM = "text/event-stream"


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

    async def listen(self, known: int | None = None) -> AsyncGenerator[str]:
        """Give server-sent events until the feed closes: ``changed``, ``alive``, or ``broken`` without a database.

        Parameters
        ----------
        known
            The mark by which the page was made (`change_mark`); where it is another by now the first event is
            ``changed``. None: the page has fetched nothing yet, or will do so itself.
        """
        queue: asyncio.Queue[str] = asyncio.Queue()
        self._listeners.add(queue)
        loop = asyncio.get_running_loop()
        until = loop.time() + LONGEST_STREAM_SECONDS
        try:
            mark = await self._asked()  # after the queue is there: what changes from now on comes through it
            if self._looking is None or self._looking.done():
                self._looking = asyncio.create_task(self._look(mark))
            first = "broken" if mark is None else "alive" if known in (None, mark) else "changed"
            yield f"retry: 2000\nevent: {first}\ndata:\n\n"
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

    async def _look(self, seen: int | None) -> None:
        quiet_seconds = 0.0
        while self._listeners and not self._closed:
            await asyncio.sleep(LOOK_SECONDS)
            quiet_seconds += LOOK_SECONDS
            mark = await self._asked()
            if mark is None:
                self._tell("broken")
            elif mark != seen:  # after a time without the database, too, since nobody knows what went by
                self._tell("changed")
            elif quiet_seconds >= SIGN_OF_LIFE_SECONDS:
                self._tell("alive")
            else:
                continue
            seen, quiet_seconds = mark, 0.0

    async def _asked(self) -> int | None:
        """Return the present mark; None where the database does not answer."""
        try:
            return await run_in_threadpool(self._mark)
        except SQLAlchemyError as error:
            logger.error("the database does not answer the live feed (%s)", type(error).__name__)
            return None

    def _mark(self) -> int:
        with self._site.reading() as session:
            return change_mark(session)


def change_mark(session: Session) -> int:
    """Return the number of the last change; read it before what a page shows, so that no change falls between."""
    changes = select(Event.id).where(Event.kind.not_in((VIEWED, LISTED)))  # looking changes nothing
    return session.scalar(changes.order_by(Event.id.desc()).limit(1)) or 0


@router.get("/live")
async def live(
    request: Request, reader: Annotated[str, Depends(reader_of)], mark: Annotated[int | None, Query(ge=0)] = None
) -> Response:
    """The stream of an open page that was made by this mark; it ends with the login."""
    feed: LiveFeed = request.app.state.live
    if feed.full:
        return Response(status_code=503, headers={"Retry-After": "30"})
    headers = {"X-Accel-Buffering": "no"}
    if is_bodiless(request):
        return Response(media_type=EVENT_STREAM, headers=headers)

    async def stream() -> AsyncIterator[str]:
        async with contextlib.aclosing(feed.listen(mark)) as events:
            async for event in events:
                if not is_logged_in(request):
                    return
                yield event

    return StreamingResponse(stream(), media_type=EVENT_STREAM, headers=headers)
