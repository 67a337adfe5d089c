"""A Starlette application as people write them; uvicorn serves it in the tests."""

from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route


async def hello(request: Request) -> Response:
    reply = JSONResponse(
        {
            "path": request.url.path,
            "query": request.url.query,
            "host": request.headers["host"],
            "user": request.headers.get("x-user-id"),
            "client": request.headers.get("x-forwarded-for"),
        }
    )
    reply.set_cookie("one", "1")
    reply.set_cookie("two", "2")
    return reply


async def echo(request: Request) -> Response:
    return Response(await request.body(), media_type=request.headers["content-type"])


async def stream(request: Request) -> Response:
    async def parts() -> AsyncIterator[str]:
        for number in range(5):
            yield f"part {number}\n"

    return StreamingResponse(parts(), media_type="text/plain")


async def empty(request: Request) -> Response:
    return Response(status_code=204)


async def broken(request: Request) -> Response:
    raise RuntimeError("as it happens")


app = Starlette(
    routes=[
        Route("/uvicorn/hello", hello),
        Route("/uvicorn/echo", echo, methods=["POST"]),
        Route("/uvicorn/stream", stream),
        Route("/uvicorn/empty", empty),
        Route("/uvicorn/broken", broken),
    ]
)
