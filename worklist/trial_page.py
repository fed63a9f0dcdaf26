"""Try a picture: a DICOM, PNG or JPEG file is judged while a person waits; nothing of it is written anywhere.

The last few trials stay in memory for a quarter of an hour, so that their heat maps can be looked at by whoever made
them.
"""

from __future__ import annotations

import asyncio
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request
from fastapi.responses import RedirectResponse, Response
from python_multipart.multipart import parse_options_header
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from worker.care.trial import Trial, TrialRefused, try_picture
from worker.rows.active_bundle import active_bundle
from worker.runs.workplace import BundleUnusable, LoadedModel, load_model
from worklist.body_limit import MAXIMUM_PICTURE_BYTES
from worklist.login import reader_of, require_own_form
from worklist.pictures import png
from worklist.render import page
from worklist.sections import trial_bars
from worklist.site import Site, site_of

router = APIRouter(include_in_schema=False)
Reader = Annotated[str, Depends(reader_of)]
OpenedSite = Annotated[Site, Depends(site_of)]
MOST_KEPT = 8
KEPT_SECONDS = 900.0
FORGOTTEN_AFTER_SECONDS = 0.1
"""Beyond that: a timer may ring a little early."""
RADIOGRAPH = "radiograph"
MOST_AT_ONCE = 4
"""Pictures on their way here, waiting or judged; each may take 64 MB."""
LONGEST_UPLOAD_SECONDS = 120.0
ROOM_FOR_THE_FORM_BYTES = 4096
"""What a browser sends around the picture."""


class InMemory(MultiPartParser):
    """Reads a form without a temporary file: pictures of patients are not written to disk."""

    spool_max_size = MAXIMUM_PICTURE_BYTES


@dataclass(frozen=True)
class KeptTrial:
    """A trial, who made it with which model, and when (monotonic seconds)."""

    trial: Trial
    model: LoadedModel
    reader: str
    at: float


@dataclass
class TrialRoom:
    """The model and the latest trials; one picture is judged at a time, so that the page never takes the machine.

    Those that wait do so in the event loop: in threads they would keep everybody from the worklist.
    """

    site: Site
    _kept: OrderedDict[str, KeptTrial] = field(default_factory=OrderedDict)
    _models: dict[str, LoadedModel] = field(default_factory=dict)
    _shelf: threading.Lock = field(default_factory=threading.Lock)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    _at_once: int = 0

    @property
    def full(self) -> bool:
        """Whether no other picture is taken now."""
        return self._at_once >= MOST_AT_ONCE

    @contextmanager
    def place(self) -> Iterator[None]:
        """Take the place of one picture for as long as it is on its way."""
        self._at_once += 1
        try:
            yield
        finally:
            self._at_once -= 1

    async def judge(self, content: bytes, reader: str, request: Request) -> str | None:
        """Try a picture and return the token of its page; None where whoever sent it has hung up.

        Raises
        ------
        TrialRefused
            The picture cannot be tried.
        BundleUnusable
            There is no model to try it with.
        """
        async with self._turn:
            if await request.is_disconnected():
                return None
            trial, model = await run_in_threadpool(self._tried, content)
            if await request.is_disconnected():
                return None
        return self._keep(KeptTrial(trial, model, reader, time.monotonic()))

    def _tried(self, content: bytes) -> tuple[Trial, LoadedModel]:
        model = self._model()
        return try_picture(content, model), model

    def _keep(self, kept: KeptTrial) -> str:
        token = secrets.token_urlsafe(24)
        with self._shelf:
            self._kept[token] = kept
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
        # whether anybody comes back to the page or not
        asyncio.get_running_loop().call_later(KEPT_SECONDS + FORGOTTEN_AFTER_SECONDS, self.forget_old)
        return token

    def find(self, token: str, reader: str) -> KeptTrial | None:
        """Return a trial of this reader that is still kept."""
        self.forget_old()
        with self._shelf:
            kept = self._kept.get(token)
        return kept if kept and kept.reader == reader else None

    def forget_old(self) -> None:
        """Drop the trials whose time is over."""
        with self._shelf:
            for old in [key for key, item in self._kept.items() if time.monotonic() - item.at > KEPT_SECONDS]:
                del self._kept[old]

    def _model(self) -> LoadedModel:
        with self.site.reading() as session:
            name = active_bundle(session)
        if name not in self._models:
            self._models[name] = load_model(self.site.settings, name)
        return self._models[name]


def room_of(request: Request) -> TrialRoom:
    """Return the room of the application that answers this request."""
    room: TrialRoom = request.app.state.trials
    return room


@router.get("/try")
def form(request: Request, site: OpenedSite, reader: Reader) -> Response:
    """The form."""
    return _form(request, 200, "")


@router.post("/try")
async def upload(request: Request, site: OpenedSite, reader: Reader) -> Response:
    """Judge the picture and lead to its page; the login is asked for before anything of it is read."""
    room = room_of(request)
    try:
        async with asyncio.timeout(LONGEST_UPLOAD_SECONDS) as limit:
            if room.full:
                async for _ in request.stream():  # a browser shows no answer to what it could not send to its end
                    pass
                return _refusal(request, 503, "Other pictures are being judged. Try again in a moment")
            with room.place():
                content = await _content(request)
                limit.reschedule(None)
                return await _judged(request, room, content, _session(request, reader))
    except TimeoutError:
        return _refusal(request, 408, "The picture took too long to arrive")


async def _content(request: Request) -> bytes:
    kind, _ = parse_options_header(request.headers.get("content-type", ""))
    try:
        parser = InMemory(request.headers, request.stream(), max_files=1, max_fields=5)
        sent = await parser.parse() if kind == b"multipart/form-data" else FormData()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error
    try:
        require_own_form(request, str(sent.get("csrf", "")))
        picture = sent.get("picture")
        return await picture.read() if isinstance(picture, UploadFile) else b""
    finally:
        await sent.close()


async def _judged(request: Request, room: TrialRoom, content: bytes, reader: str) -> Response:
    if not content:
        return _refusal(request, 422, "Choose a file first")
    try:
        token = await room.judge(content, reader, request)
    except (TrialRefused, BundleUnusable) as error:
        return _refusal(request, 422, str(error))
    return Response(status_code=400) if token is None else RedirectResponse(f"/try/{token}", status_code=303)


def _refusal(request: Request, status_code: int, sentence: str) -> Response:
    return _form(request, status_code, f"{sentence[0].upper()}{sentence[1:]}.")


def _form(request: Request, status_code: int, problem: str) -> Response:
    form = {"kept": None, "largest_bytes": MAXIMUM_PICTURE_BYTES - ROOM_FOR_THE_FORM_BYTES}
    return page(request, "try.html", status_code, problem=problem, **form)


@router.get("/try/{token}")
def result(request: Request, token: str, site: OpenedSite, reader: Reader) -> Response:
    """What the model said."""
    kept = room_of(request).find(token, _session(request, reader))
    if kept is None:
        return _refusal(request, 404, "This trial is gone: nothing of it was stored")
    return page(
        request, "try.html", kept=kept, problem="", token=token, bars=trial_bars(kept.trial.assessment),
        demonstration=kept.model.bundle.demonstration,
    )  # fmt: skip


@router.get("/try/{token}/{name}.png")
def picture(request: Request, token: str, name: str, site: OpenedSite, reader: Reader) -> Response:
    """The picture, or a finding's heat map over it."""
    kept = room_of(request).find(token, _session(request, reader))
    if kept is None:
        return Response(status_code=404)
    try:
        pixels = kept.trial.pixels if name == RADIOGRAPH else kept.trial.overlay(name, kept.model)
    except TrialRefused:
        return Response(status_code=404)
    return Response(png(pixels), media_type="image/png")


def _session(request: Request, reader: str) -> str:
    """Return whose trial it is: a login, and the browser it was made in."""
    return f"{reader} {request.session.get('csrf', '')}"
