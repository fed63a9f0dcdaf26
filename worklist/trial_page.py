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
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from fastapi.responses import RedirectResponse, Response
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile

from worker.care.trial import Trial, TrialRefused, try_picture
from worker.rows.active_bundle import active_bundle
from worker.runs.workplace import BundleUnusable, LoadedModel, load_model
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


@dataclass(frozen=True)
class KeptTrial:
    """A trial, who made it with which model, and when (monotonic seconds)."""

    trial: Trial
    model: LoadedModel
    reader: str
    at: float


@dataclass
class TrialRoom:
    """The model and the latest trials; one picture is judged at a time, so that the page never takes the machine."""

    site: Site
    _kept: OrderedDict[str, KeptTrial] = field(default_factory=OrderedDict)
    _models: dict[str, LoadedModel] = field(default_factory=dict)
    _busy: threading.Lock = field(default_factory=threading.Lock)

    def judge(self, content: bytes, reader: str) -> str:
        """Try a picture and return the token of its page.

        Raises
        ------
        TrialRefused
            The picture cannot be tried.
        BundleUnusable
            There is no model to try it with.
        """
        with self._busy:
            model = self._model()
            kept = KeptTrial(try_picture(content, model), model, reader, time.monotonic())
            token = secrets.token_urlsafe(24)
            self._kept[token] = kept
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)
            return token

    def find(self, token: str, reader: str) -> KeptTrial | None:
        """Return a trial of this reader that is still kept."""
        self.forget_old()
        kept = self._kept.get(token)
        return kept if kept and kept.reader == reader else None

    def forget_old(self) -> None:
        """Drop the trials whose time is over."""
        with self._busy:
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
    return page(request, "try.html", kept=None, problem="")


@router.post("/try")
async def upload(request: Request, site: OpenedSite, reader: Reader) -> Response:
    """Judge the picture and lead to its page; the login is asked for before anything of it is read."""
    async with request.form(max_files=1, max_fields=5) as sent:
        require_own_form(request, str(sent.get("csrf", "")))
        picture = sent.get("picture")
        content = await picture.read() if isinstance(picture, UploadFile) else b""
    if not content:
        return page(request, "try.html", 422, kept=None, problem="Choose a file first.")
    room, loop = room_of(request), asyncio.get_running_loop()
    try:
        token = await run_in_threadpool(room.judge, content, _session(request, reader))
    except (TrialRefused, BundleUnusable) as error:
        sentence = str(error)
        return page(request, "try.html", 422, kept=None, problem=f"{sentence[0].upper()}{sentence[1:]}.")
    # whether anybody comes back to the page or not
    loop.call_later(KEPT_SECONDS + FORGOTTEN_AFTER_SECONDS, loop.run_in_executor, None, room.forget_old)
    return RedirectResponse(f"/try/{token}", status_code=303)


@router.get("/try/{token}")
def result(request: Request, token: str, site: OpenedSite, reader: Reader) -> Response:
    """What the model said."""
    kept = room_of(request).find(token, _session(request, reader))
    if kept is None:
        return page(request, "try.html", 404, kept=None, problem="This trial is gone: nothing of it was stored.")
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
