"""aiohttp's server, which answers with a problem (RFC 9457) also where no handler of ours is asked."""

import asyncio
import logging
import traceback

from aiohttp import web
from aiohttp.http import HttpProcessingError

from gateway.identity.app import finish, problem
from gateway.model import faults
from gateway.model.credentials import redacted
from gateway.model.faults import Fault

log = logging.getLogger(__name__)


class Runner(web.AppRunner):
    async def _make_server(self) -> web.Server:
        made = await super()._make_server()
        return _Server(made.request_handler, request_factory=made.request_factory, **self._kwargs)


class _Server(web.Server):
    def __call__(self) -> web.RequestHandler:
        return _Connection(self, loop=asyncio.get_running_loop(), **self._kwargs)


class _Connection(web.RequestHandler):
    """One connection; aiohttp's own answers would repeat what was sent, and its log would keep it (T25)."""

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        if not isinstance(exc, HttpProcessingError):
            told = redacted("".join(traceback.format_exception(exc))) if exc else f"it came to {status}"
            log.error("a call crashed", extra={"error": told})
        if request.writer.output_size > 0:  # it is too late to answer
            raise ConnectionError
        response = _plain(request, faults.BAD_REQUEST if status == 400 else faults.INTERNAL_ERROR)
        response.force_close()
        return response

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if isinstance(resp, web.HTTPException):  # raised before our frame is asked: an Expect
            known = resp.status == faults.EXPECTATION_FAILED.status
            resp = _plain(request, faults.EXPECTATION_FAILED if known else faults.INTERNAL_ERROR)
        return await super().finish_response(request, resp, start_time)


def _plain(request: web.BaseRequest, fault: Fault) -> web.Response:
    response = problem(request, fault)
    finish(request, response)
    return response
