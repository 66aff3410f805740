"""What is left of Quart: hooks and views of either kind, any host, no sessions."""

import pytest
from quart import session

from app.edge.application import Application


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
