"""The role that a request means by a uuid or a name."""

from pathlib import Path

import pytest

from app.auth.models import Principal
from app.auth.scopes import SEED_SCOPES
from app.errors import NotFound
from app.profiles.service import ProfileService
from app.roles.models import SHARED, Role
from app.roles.schemas import CreateRoleRequest, UpdateRoleRequest
from app.roles.service import RoleService
from tests.support.server import Server

OPERATOR = Principal("k", "operator", SEED_SCOPES)


@pytest.fixture
def roles(server: Server, data_dir: Path) -> RoleService:
    return RoleService(server.core.database, ProfileService(data_dir / "configs"))


async def make(roles: RoleService, name: str, owner: str = SHARED) -> Role:
    return await roles.create(OPERATOR, CreateRoleRequest(name=name, system_prompt=f"{name} of {owner}", owner=owner))


async def test_a_role_is_found_by_uuid_and_by_name(roles: RoleService) -> None:
    shared = await make(roles, "Cook")
    for ref in (shared.uuid, "Cook"):
        assert await roles.get_for_use(ref, "alice") == shared


async def test_a_users_own_role_goes_before_the_shared_one_of_its_name(roles: RoleService) -> None:
    shared, alices = await make(roles, "Cook"), await make(roles, "Cook", "alice")
    assert await roles.get_for_use("Cook", "alice") == alices
    assert await roles.get_for_use("Cook", "bob") == shared
    assert await roles.get_for_use(shared.uuid, "alice") == shared


async def test_a_name_that_looks_like_a_uuid_takes_no_other_roles_place(roles: RoleService) -> None:
    shared = await make(roles, "Cook")
    await make(roles, shared.uuid, "alice")
    assert await roles.get_for_use(shared.uuid, "alice") == shared


async def test_another_users_role_is_not_found_but_by_a_key_for_everyone(roles: RoleService) -> None:
    bobs = await make(roles, "Cook", "bob")
    for ref in (bobs.uuid, "Cook", "nothing", "Co\0ok"):
        with pytest.raises(NotFound, match="Role not found") as raised:
            await roles.get_for_use(ref, "alice")
        assert raised.value.code == "role_not_found"
    assert await roles.get_for_use(bobs.uuid, "api:test", any_owner=True) == bobs
    with pytest.raises(NotFound):
        await roles.get_for_use("Cook", "api:test", any_owner=True)


async def test_an_inactive_role_is_not_found_and_none_takes_its_place(roles: RoleService) -> None:
    await make(roles, "Cook")
    alices = await make(roles, "Cook", "alice")
    await roles.update(OPERATOR, alices.uuid, UpdateRoleRequest(is_active=False))
    for ref in (alices.uuid, "Cook"):
        with pytest.raises(NotFound):
            await roles.get_for_use(ref, "alice")
