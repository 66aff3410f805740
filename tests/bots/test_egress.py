"""A webhook's URL leads to the public internet, or nowhere: whatever it is written like, and whatever it leads to."""

import pytest

from app.bots.adapters.base import Call, Fragment, Target
from app.bots.adapters.http import Network
from app.bots.adapters.outcomes import DeliveryError, Refused
from app.bots.adapters.signing import new_secret
from app.bots.adapters.webhook import WebhookConfig, webhook_factory
from app.egress import is_public
from app.errors import BadRequest
from tests.bots.conftest import Im
from tests.bots.fakes import FixedResolver
from tests.support.webhook_receiver import WebhookReceiver, says

CALL = Call(Target("FriendMessage", "1"), Fragment({"x": "y"}), "m1")
PRIVATE = [
    "0.0.0.0",
    "10.1.2.3",
    "100.64.0.1",
    "100.127.255.254",
    "127.0.0.1",
    "127.8.8.8",
    "169.254.169.254",
    "172.16.0.1",
    "172.31.255.255",
    "192.0.0.8",
    "192.0.2.1",
    "192.88.99.1",
    "192.168.1.1",
    "198.18.0.1",
    "203.0.113.9",
    "224.0.0.1",
    "239.255.255.250",
    "240.0.0.1",
    "255.255.255.255",
    "::",
    "::1",
    "::7f00:1",
    "::ffff:127.0.0.1",
    "::ffff:a9fe:a9fe",
    "64:ff9b::10.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b:1::a00:1",
    "100::1",
    "2001::1",
    "2001:db8::1",
    "2002:7f00:1::",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fe80::1%eth0",
    "fec0::1",
    "ff02::1",
    "not an address",
    "",
]
PUBLIC = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "172.32.0.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", PUBLIC)
def test_an_address_outside_is_public(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "10.0.0.1", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "[64:ff9b::7f00:1]", "[fe80::1]"],
)
def test_a_url_with_a_private_address_is_refused_when_it_is_given(host: str) -> None:
    with pytest.raises(BadRequest, match="config: url must not name a private address"):
        webhook_factory(Network()).build("hook", WebhookConfig(f"https://{host}/x", new_secret()))


async def refusal(url: str, resolver: FixedResolver | None = None) -> DeliveryError:
    factory = webhook_factory(Network(resolver=resolver))
    adapter = factory.build("hook", WebhookConfig(url, new_secret()))
    try:
        with pytest.raises(DeliveryError) as raised:
            await adapter.deliver(CALL)
    finally:
        await adapter.close()
    return raised.value


@pytest.mark.parametrize("host", ["2130706433", "127.1", "0x7f.0.0.1", "0177.0.0.1", "localhost"])
async def test_an_address_in_disguise_is_not_called(receiver: WebhookReceiver, host: str) -> None:
    error = await refusal(f"http://{host}:{receiver.port}/")
    assert isinstance(error, Refused)
    assert receiver.received == []


@pytest.mark.parametrize(
    "addresses",
    [("127.0.0.1",), ("10.0.0.1", "127.0.0.1"), ("::1", "127.0.0.1"), ("::ffff:127.0.0.1",), ("64:ff9b::7f00:1",)],
)
async def test_a_name_that_leads_inside_is_not_called_defect_26(
    receiver: WebhookReceiver, addresses: tuple[str, ...]
) -> None:
    resolver = FixedResolver(*addresses)
    error = await refusal(f"http://hooks.example.com:{receiver.port}/", resolver)
    assert error.message == "The webhook receiver's address is private, and private addresses are not allowed"
    assert isinstance(error, Refused)
    assert resolver.asked == ["hooks.example.com"]
    assert receiver.received == []


async def test_the_address_that_is_checked_is_the_one_that_is_called(
    receiver: WebhookReceiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name is looked up once for a connection: there is no second answer that could differ from the checked one."""
    called: list[str] = []

    def note(address: str) -> bool:
        called.append(address)
        return True

    monkeypatch.setattr("app.egress.is_public", note)
    resolver = FixedResolver("127.0.0.1")
    adapter = webhook_factory(Network(resolver=resolver)).build(
        "hook", WebhookConfig(f"http://hooks.example.com:{receiver.port}/", new_secret())
    )
    await adapter.deliver(CALL)
    await adapter.close()
    assert (called, resolver.asked, len(receiver.received)) == (["127.0.0.1"], ["hooks.example.com"], 1)


async def test_redirects_are_not_followed(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    for status in (301, 302, 303, 307, 308):
        receiver.answers = [says({}, status, {"Location": receiver.url + "/elsewhere"})]
        actual, answer = await im.send("support-hook:FriendMessage:1")
        assert (actual, answer["message"]) == (
            502,
            f"The webhook receiver answered {status}, and redirects are not followed",
        )
    assert [request.path for request in receiver.received] == ["/hook"] * 5


async def test_private_addresses_are_called_when_the_operator_admits_them(im: Im, receiver: WebhookReceiver) -> None:
    await im.new_hook(receiver)
    assert (await im.send("support-hook:FriendMessage:1"))[0] == 200
