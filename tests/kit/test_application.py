"""What is left of Quart: hooks and views of either kind, any host, no sessions."""

import threading
from collections.abc import Iterable

import pytest
from quart import session
from werkzeug.exceptions import BadRequest

from app.edge.application import Application
from app.edge.headers import ReceivedHeaders


async def test_functions_that_are_not_coroutines_run_in_threads_each_time() -> None:
    app = Application("tests")
    threads: list[int] = []

    @app.before_request
    def hook() -> None:
        threads.append(threading.get_ident())

    @app.get("/plain")
    def plain() -> str:
        threads.append(threading.get_ident())
        return "plain"

    @app.get("/coroutine")
    async def coroutine() -> str:
        assert threading.get_ident() == threading.main_thread().ident
        return "coroutine"

    for path in ("/plain", "/coroutine", "/plain"):
        response = await app.test_client().get(path)
        assert await response.get_data(as_text=True) == path[1:]
    assert len(threads) == 5
    assert threading.main_thread().ident not in threads


@pytest.mark.parametrize("host", ["chat.example.com", "[::1]:80", "x" * 100, "..", "ä", "user@host"])
async def test_a_route_is_found_whatever_the_host_is_called(host: str) -> None:
    app = Application("tests")

    @app.get("/here/<path:rest>")
    async def here(rest: str) -> str:
        return rest

    response = await app.test_client().get("/here/a//b", headers={"Host": host})
    assert await response.get_data(as_text=True) == "a//b"


async def test_there_are_no_sessions() -> None:
    app = Application("tests")

    @app.get("/")
    async def view() -> list[str]:
        with pytest.raises(RuntimeError, match="session is unavailable"):
            session["a"] = 1
        return list(session)

    response = await app.test_client().get("/", headers={"Cookie": "session=abc"})
    assert await response.get_json() == []
    assert "Set-Cookie" not in response.headers


HEADERS = [("Remote-Addr", "127.0.0.1"), ("Accept", "a/b"), ("Accept", "c/d"), ("X-Number", "12"), ("X-Empty", "")]


def test_received_headers_are_found_as_others_are() -> None:
    headers = ReceivedHeaders(HEADERS)

    assert (headers["accept"], headers.get("ACCEPT"), headers.getlist("Accept")) == ("a/b", "a/b", ["a/b", "c/d"])
    assert (headers.get("X-Empty"), headers.get("X-None"), headers.get("X-None", "none")) == ("", None, "none")
    assert (headers.get("X-Number", type=int), headers.get("Accept", 7, type=int)) == (12, 7)
    assert "x-number" in headers
    assert "x-none" not in headers
    assert list(headers) == HEADERS
    with pytest.raises(BadRequest):
        headers["X-None"]


@pytest.mark.parametrize("change", ["add", "set", "setdefault", "setlist", "add_header"])
def test_received_headers_do_not_change(change: str) -> None:
    headers = ReceivedHeaders(HEADERS)
    value: str | Iterable[str] = ["b"] if change == "setlist" else "b"

    with pytest.raises(TypeError):
        getattr(headers, change)("Accept", value)
    with pytest.raises(TypeError):
        del headers["Accept"]
