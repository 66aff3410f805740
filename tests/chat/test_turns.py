"""What the model is shown while messages keep coming in."""

import asyncio
from itertools import pairwise

from tests.support.client import Client
from tests.support.model_server import ModelServer


async def test_a_message_accepted_while_another_gets_its_turn_is_not_shown_to_that_one_defect_13(
    client: Client, model: ModelServer
) -> None:
    async def talk(name: str) -> None:
        for number in range(10):
            await client.chat(f"{name} {number}", session_id="s1")

    await asyncio.gather(*(talk(f"client {number}") for number in range(14)))
    for request in model.requests:
        roles = [message["role"] for message in request.body["messages"]]
        assert ("user", "user") not in pairwise(roles), request.body["messages"][-4:]
        # Nor joined to the one that is answered.
        assert not any("\n\n" in message["content"] for message in request.body["messages"])
