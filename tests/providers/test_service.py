"""The registry: which provider a name means."""

import pytest

from app.providers.models import ProviderSpec
from app.providers.service import ProviderRegistry


def spec(id: str) -> ProviderSpec:
    return ProviderSpec(id=id, base_url="http://127.0.0.1:9/v1", default_model=f"{id}-model", api_key="sk-secret")


async def test_providers_are_found_by_id_and_the_first_is_the_default() -> None:
    registry = ProviderRegistry([spec("a"), spec("b")])
    assert registry.ids == ["a", "b"]
    assert registry.default.id == "a"
    assert registry.get("b").default_model == "b-model"
    with pytest.raises(KeyError):
        registry.get("embedded")
    await registry.close()


async def test_the_default_can_be_another() -> None:
    registry = ProviderRegistry([spec("a"), spec("b")], "b")
    assert registry.default is registry.get("b")
    await registry.close()


async def test_without_a_spec_the_embedded_model_is_the_only_provider() -> None:
    registry = ProviderRegistry([])
    assert registry.ids == ["embedded"]
    assert registry.default.default_model == "embedded"
    await registry.close()


def test_wrong_providers_are_named() -> None:
    with pytest.raises(ValueError, match="two providers have the id a"):
        ProviderRegistry([spec("a"), spec("a")])
    with pytest.raises(ValueError, match="the default provider x is not among the providers"):
        ProviderRegistry([spec("a")], "x")


def test_a_spec_does_not_show_its_key() -> None:
    assert "sk-secret" not in repr(spec("a"))
