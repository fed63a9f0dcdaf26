"""The web application: layers, routes and what an error looks like."""

from __future__ import annotations

import logging
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlencode

from fastapi import FastAPI, Request
from fastapi.exception_handlers import request_validation_exception_handler
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.staticfiles import StaticFiles
from sqlalchemy.exc import DataError, StatementError
from starlette.exceptions import HTTPException
from starlette.middleware.sessions import SessionMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from dicom_io.foundation.product import VERSION
from worker.care.administration import UnknownStudy
from worker.rows.database import DATABASE_GONE, outage_words
from worker.settings.config import Settings
from worklist import (
    admin_api,
    api,
    corrections,
    entrance,
    list_page,
    live,
    metrics,
    model_page,
    operations,
    pages,
    review_form,
    shadow_page,
    standing,
    trial_page,
)
from worklist.accounts import read_accounts
from worklist.body_limit import BodyLimit
from worklist.ended_sessions import EndedSessions
from worklist.form_charset import FormsInUtf8
from worklist.headers import SecurityHeaders
from worklist.login import (
    SESSION_SECONDS,
    ForgedRequest,
    LoginGuard,
    LoginRequired,
    NotAllowed,
    session_secret,
)
from worklist.methods import HeadAsGet, allowed_methods
from worklist.render import message_page
from worklist.site import open_site

logger = logging.getLogger(__name__)

STATIC_FOLDER = Path(__file__).resolve().parent / "static"
LOOPBACK_NAMES = ["127.0.0.1", "localhost", "[::1]", "::1", "testserver"]


def create_app(settings: Settings) -> FastAPI:
    """Return the application for these settings; opens nothing on the network.

    Raises
    ------
    PasswordFileError
        A login is required and its password file cannot be used.
    """
    site = open_site(settings)
    if site.login_required:
        read_accounts(settings.worklist_password_hash_file)
    app = FastAPI(
        title="CXR Triage Worker", version=VERSION, docs_url=None, redoc_url=None, openapi_url="/api/openapi.json"
    )
    app.state.site = site
    app.state.guard = LoginGuard()
    app.state.ended_sessions = EndedSessions(settings.data_dir, SESSION_SECONDS)
    app.state.live = live.LiveFeed(site)
    app.include_router(list_page.router)
    app.include_router(live.router)
    app.include_router(pages.router)
    app.include_router(standing.router)
    app.include_router(review_form.router)
    app.state.trials = trial_page.TrialRoom(site)
    app.include_router(trial_page.router)
    app.include_router(corrections.router)
    app.include_router(api.router)
    app.include_router(admin_api.router)
    app.include_router(metrics.router)
    app.include_router(operations.router)
    app.include_router(model_page.router)
    app.include_router(shadow_page.router)
    app.include_router(entrance.router)
    app.mount("/static", StaticFiles(directory=STATIC_FOLDER), name="static")
    app.add_middleware(
        SessionMiddleware,
        secret_key=session_secret(settings.data_dir),
        session_cookie="cxr_session",
        max_age=SESSION_SECONDS,
        same_site="lax",  # a link from the PACS to a study keeps the login; posts carry their own token
    )
    # without a login the page answers to names of this machine only, so that no other site's name can point at it
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=["*"] if site.login_required else LOOPBACK_NAMES)
    app.add_middleware(FormsInUtf8)
    app.add_middleware(BodyLimit)
    app.add_middleware(HeadAsGet)
    app.add_middleware(SecurityHeaders, behind_tls=(settings.page_url or "").startswith("https://"))
    _add_error_pages(app)
    return app


def _add_error_pages(app: FastAPI) -> None:
    """Turn errors into pages for people and into JSON for programs."""

    @app.exception_handler(LoginRequired)
    async def ask_for_login(request: Request, error: LoginRequired) -> Response:
        if _wants_page(request) and request.method == "GET":
            wanted = request.url.path + (f"?{request.url.query}" if request.url.query else "")
            return RedirectResponse(f"/login?{urlencode({'next': wanted})}", status_code=303)
        return JSONResponse({"detail": "log in first"}, status_code=401)

    @app.exception_handler(ForgedRequest)
    async def refuse(request: Request, error: ForgedRequest) -> Response:
        return _answer(request, 403, "This form is too old or came from elsewhere. Go back, reload and try again.")

    @app.exception_handler(NotAllowed)
    async def not_allowed(request: Request, error: NotAllowed) -> Response:
        return _answer(request, 403, "This is for administrators. Ask one, or log in as one.")

    @app.exception_handler(UnknownStudy)
    async def unknown_study(request: Request, error: UnknownStudy) -> Response:
        return _answer(request, 404, "No such study was ever received.")

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> Response:
        unknown = error.detail == HTTPStatus.NOT_FOUND.phrase  # no page has this address
        answer = _answer(request, error.status_code, "There is no such page." if unknown else str(error.detail))
        answer.headers.update(error.headers or {})
        if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED and (methods := allowed_methods(request)):
            answer.headers["Allow"] = methods
        return answer

    @app.exception_handler(RequestValidationError)
    async def not_of_its_kind(request: Request, error: RequestValidationError) -> Response:
        if not _wants_page(request):
            return await request_validation_exception_handler(request, error)
        words = "; ".join(f"{item['loc'][-1]}: {item['msg']}" for item in error.errors())
        return _answer(request, 422, f"Something in this address or form is not of its kind ({words}).")

    @app.exception_handler(ClientDisconnect)
    async def hung_up(request: Request, error: ClientDisconnect) -> Response:
        return Response(status_code=400)  # nobody reads it

    @app.exception_handler(DataError)
    @app.exception_handler(OverflowError)
    @app.exception_handler(StatementError)
    async def not_a_value(request: Request, error: Exception) -> Response:
        cause = error.orig if type(error) is StatementError else error
        if not isinstance(cause, (DataError, OverflowError)):
            raise error  # a mistake of ours
        logger.warning("request refused: a value in it cannot be looked for (%s)", type(error).__name__)
        return _answer(request, 422, "A number, a date or a text in this request is none that could be found here.")

    async def database_gone(request: Request, error: Exception) -> Response:
        words = outage_words(error)
        logger.error("%s", words)
        what = words[0].upper() + words[1:]
        return _answer(request, 503, f"{what}. Studies already received are safe; try again soon.")

    for kind in DATABASE_GONE:
        app.add_exception_handler(kind, database_gone)


def _wants_page(request: Request) -> bool:
    return not request.url.path.startswith(("/api/", "/partial/", "/live", "/healthz", "/metrics", "/static/"))


def _answer(request: Request, status_code: int, message: str) -> Response:
    if _wants_page(request):
        return message_page(request, status_code, message)
    return JSONResponse({"detail": message}, status_code=status_code)
