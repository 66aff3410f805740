"""The numbers in the pages are those of the code."""

import re

import pytest

from app.auth.service import CACHE_SECONDS
from app.bots.outbox.policy import RetryPolicy
from app.bots.sending import WAIT_SECONDS
from app.chat.fields import MAX_NAME_CHARS
from app.chat.run_store import EVENTS_KEPT
from app.cluster.store import LEASE
from app.completions.content import MAX_IMAGES
from app.completions.service import MAX_CALL_ID_CHARS
from app.database.sqlite import BUSY_TIMEOUT_SECONDS
from app.doors.open_api.websocket import STREAMS_PER_SOCKET
from app.edge.json_scan import MAX_DEPTH
from app.edge.sse import HEARTBEAT_SECONDS
from app.files.extraction.models import DocumentLimits
from app.files.imaging.models import ImageLimits
from app.files.multipart import IDLE_SECONDS
from app.server.options import KEEP_ALIVE_SECONDS
from app.settings import Settings
from tests.docs.pages import page

MIB = 1024**2


def test_the_limits_with_a_variable_are_its_default() -> None:
    table = page("docs/limits.md")
    limits = re.findall(r"(\d[\d,]*) ?(MiB|\w*) \(`PALAVER_(\w+)`\)", table)
    assert len(limits) == table.count("`PALAVER_") > 0
    for number, unit, variable in limits:
        value = float(number.replace(",", "")) * (MIB if unit == "MiB" else 1)
        assert value == Settings.model_fields[variable.lower()].default, variable


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("docs/limits.md", f"nested {MAX_DEPTH} levels deep"),
        ("docs/limits.md", f"{IDLE_SECONDS:.0f} seconds of silence"),
        ("docs/limits.md", f"{MAX_NAME_CHARS} characters, no control characters"),
        ("docs/limits.md", f"Replies streaming on one WebSocket | {STREAMS_PER_SOCKET} |"),
        ("docs/limits.md", f"Image for a model | {ImageLimits().max_bytes // MIB} MiB,"),
        ("docs/limits.md", f"Images sent as data in a request to `/v1` | {MAX_IMAGES} |"),
        ("docs/limits.md", f"A `tool_call_id` in it has at most {MAX_CALL_ID_CHARS:,} characters"),
        ("docs/limits.md", f"The first {DocumentLimits().max_text_chars:,} characters"),
        ("docs/limits.md", f"A comment line after {HEARTBEAT_SECONDS:.0f} seconds"),
        ("docs/deployment.md", f"connections are kept for {KEEP_ALIVE_SECONDS:.0f} seconds"),
        ("docs/limits.md", f"a run's events for {EVENTS_KEPT.total_seconds() / 3600:.0f} hours"),
        ("ARCHITECTURE.md", f"has not been seen for {LEASE.total_seconds():.0f} seconds"),
        (
            "docs/decisions/0101-use-cases-are-functions-of-a-connection.md",
            f"busy timeout of {BUSY_TIMEOUT_SECONDS} seconds",
        ),
        ("docs/decisions/0005-checking-a-key.md", f"remembered for {CACHE_SECONDS:.0f} seconds"),
    ],
)
def test_the_numbers_are_those_of_the_code(name: str, sentence: str) -> None:
    assert sentence in " ".join(page(name).split())


def test_deliveries_are_retried_as_documented() -> None:
    policy = RetryPolicy()
    assert (policy.tries, policy.wait_max, WAIT_SECONDS) == (8, 60.0, 10.0)
    text = " ".join(page("docs/bots.md").split())
    assert "Again after 1 to 60 seconds, eight times in all" in text
    assert "within ten seconds" in text
