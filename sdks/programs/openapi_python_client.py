"""The client that openapi-python-client makes."""

import json
import os
import sys
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace

from palaver_opc import AuthenticatedClient
from palaver_opc.api.open_api import get_file, get_run, list_sessions, send_chat_message, upload_file
from palaver_opc.models import (
    AgentStatsEvent,
    ApprovalRequiredEvent,
    AttachmentSavedEvent,
    ChatSendRequest,
    CompleteEvent,
    EndEvent,
    ErrorEvent,
    ErrorResponse,
    FileEvent,
    FileUpload,
    ImageEvent,
    MessageSavedEvent,
    PlainEvent,
    RecordEvent,
    RefsEvent,
    SessionIdEvent,
    UserMessageSavedEvent,
    VideoEvent,
)
from palaver_opc.types import File

EVENTS = SimpleNamespace(
    session_id=SessionIdEvent,
    user_message_saved=UserMessageSavedEvent,
    refs=RefsEvent,
    plain=PlainEvent,
    image=ImageEvent,
    record=RecordEvent,
    video=VideoEvent,
    file=FileEvent,
    attachment_saved=AttachmentSavedEvent,
    approval_required=ApprovalRequiredEvent,
    agent_stats=AgentStatsEvent,
    complete=CompleteEvent,
    message_saved=MessageSavedEvent,
    error=ErrorEvent,
    end=EndEvent,
)

client = AuthenticatedClient(os.environ["PALAVER_URL"], os.environ["PALAVER_KEY"])
request = send_chat_message._get_kwargs(body=ChatSendRequest("Hello", "alice", session_id="opc"))
events = []
with client.get_httpx_client().stream(**request) as response:
    for line in response.iter_lines():
        if line.startswith("data: "):
            event = json.loads(line[6:])
            events.append(getattr(EVENTS, event["type"]).from_dict(event))
assert isinstance(events[0], SessionIdEvent)
assert any(isinstance(event, PlainEvent) and event.data for event in events)
assert isinstance(events[-1], EndEvent)
# The embedded model calls no tools.
for line in Path(__file__).with_name("tool_events.jsonl").read_text().splitlines():
    event = json.loads(line)
    last = getattr(EVENTS, event["type"]).from_dict(event)
assert isinstance(last, ApprovalRequiredEvent)
assert last.data.name == "fetch"
print("chat", len(events))

page = list_sessions.sync(client=client, username="alice", page=1, page_size=1).data
assert page.total >= len(page.sessions) == 1
print("sessions", page.total, page.sessions[0].created_at.year)

# Without a file name, which Palaver takes.
uploaded = upload_file.sync(client=client, body=FileUpload(File(BytesIO(b"Hello, file")))).data
content = get_file.sync_detailed(client=client, attachment_id=uploaded.attachment_id).content
assert content == b"Hello, file"
print("file", uploaded.type_)

error = get_run.sync("nowhere", client=client)
if not isinstance(error, ErrorResponse):
    sys.exit(f"no error: {error}")
print("error", error.code)
