"""A role that is named by a request takes over."""

from typing import Any

from tests.conftest import StartServer
from tests.doors.openai.conftest import shown
from tests.doors.second_me.test_roles import create, put
from tests.support.client import Client
from tests.support.database import count_rows
from tests.support.model_server import ModelServer
from tests.support.server import Server

CHAT = "/api/kernel2/chat"
HI: Any = [{"role": "user", "content": "hi"}]
TALK: Any = [{"role": "system", "content": "Be dull."}, *HI, {"role": "assistant", "content": "ho"}, *HI]
AS_PIRATE = [("system", "You are a pirate."), ("user", "hi"), ("assistant", "ho"), ("user", "hi")]


async def ask(client: Client, **body: Any) -> int:
    return (await client.post(CHAT, {"messages": TALK, **body})).status_code


async def test_its_prompt_takes_the_place_of_the_requests_own(client: Client, model: ModelServer) -> None:
    role = await create(client)
    cook = await create(client, name="Cook", system_prompt="You are a cook.")
    for named in (
        {"metadata": {"role_id": role["uuid"]}},
        {"metadata": {"role_id": "Pirate"}, "stream": False},
        {"role_id": role["uuid"]},
        {"role_id": cook["uuid"], "metadata": {"role_id": role["uuid"]}},
        {"model": "role:Pirate"},
        {"system_prompt": "Be dull."},
    ):
        assert await ask(client, **named) == 200
        assert shown(model) == (AS_PIRATE if "system_prompt" not in named else [("system", "Be dull."), *AS_PIRATE[1:]])
        assert not {"metadata", "role_id"} & model.requests[-1].body.keys()
    former = {"messages": None, "message": "hi", "system_prompt": "Be dull.", "role_id": role["uuid"], "history": HI}
    assert await ask(client, **former) == 200
    assert shown(model) == [AS_PIRATE[0], ("user", "hi"), ("user", "hi")]


async def test_one_that_is_not_to_be_used_is_404_and_leaves_nothing(
    server: Server, client: Client, alice: Client, model: ModelServer
) -> None:
    role, hers = await create(client), await create(alice, name="Hers")
    assert (await put(client, role["uuid"], is_active=False)).status_code == 200
    for ref in ("nothing", role["uuid"], "Pirate", "Hers"):
        for stream in (True, False):
            body = {"messages": HI, "metadata": {"role_id": ref}, "stream": stream}
            response = await client.post(CHAT, body)
            assert response.status_code == 404
            assert response.json() == {"success": False, "message": "Role not found", "code": 404}
    assert model.requests == [] or {request.method for request in model.requests} == {"GET"}
    assert await count_rows(server.core.database, "runs") == [0]
    assert (await put(client, role["uuid"], is_active=True)).status_code == 200
    assert await ask(client, role_id=role["uuid"]) == 200
    assert await ask(client, role_id=hers["uuid"]) == 200  # a key that is bound to nobody may use them all


async def test_users_are_answered_by_their_own_roles_and_the_shared_ones(
    client: Client, alice: Client, bob: Client, model: ModelServer
) -> None:
    await create(client)
    hers = await create(alice, system_prompt="You are Alice's pirate.")
    assert await ask(alice, role_id="Pirate") == 200
    assert shown(model)[0] == ("system", "You are Alice's pirate.")
    assert await ask(bob, role_id="Pirate") == 200
    assert shown(model) == AS_PIRATE
    assert await ask(bob, role_id=hers["uuid"]) == 404


async def test_its_profile_answers(start_server: StartServer, data_dir: Any, model: ModelServer) -> None:
    (data_dir / "configs").mkdir(parents=True)
    (data_dir / "configs/wild.toml").write_text('model = "scripted"\n[parameters]\ntemperature = 1.5\n')
    async with start_server() as server, Client(server, await server.new_key()) as client:
        role = await create(client, config_id="wild")
        assert await ask(client, role_id=role["uuid"]) == 200
        sent = model.requests[-1].body
        assert (sent["model"], sent["temperature"], sent["max_tokens"]) == ("scripted", 1.5, 2000)
        assert shown(model) == AS_PIRATE
        (data_dir / "configs/wild.toml").unlink()
        assert await ask(client, role_id=role["uuid"]) == 200
        assert model.requests[-1].body["model"] == "gpt-4.1-mini"


async def test_a_change_holds_for_the_next_request(alice: Client, model: ModelServer) -> None:
    role = await create(alice)
    await ask(alice, role_id=role["uuid"])
    await put(alice, role["uuid"], system_prompt="You are a cook.")
    await ask(alice, role_id=role["uuid"])
    assert shown(model)[0] == ("system", "You are a cook.")
