"""The client that openapi-generator makes for Python."""

import os
import sys
from pathlib import Path

import palaver_client as palaver

configuration = palaver.Configuration(
    host=os.environ["PALAVER_URL"], api_key={"ApiKeyHeader": os.environ["PALAVER_KEY"]}
)
with palaver.ApiClient(configuration) as client:
    api = palaver.OpenAPIApi(client)

    message = palaver.ChatSendRequest(username="alice", message=palaver.MessageContent("Hello"), session_id="og-python")
    events = [
        palaver.ChatEvent.from_json(line[6:].decode()).actual_instance
        for line in api.send_chat_message_without_preload_content(message)
        if line.startswith(b"data: ")
    ]
    assert isinstance(events[0], palaver.SessionIdEvent), events[0]
    assert any(isinstance(event, palaver.PlainEvent) and event.data for event in events)
    assert isinstance(events[-1], palaver.EndEvent), events[-1]
    # The embedded model calls no tools.
    lines = Path(__file__).with_name("tool_events.jsonl").read_text().splitlines()
    *files, saved, approval = [palaver.ChatEvent.from_json(line).actual_instance for line in lines]
    kinds = [palaver.ImageEvent, palaver.RecordEvent, palaver.VideoEvent, palaver.FileEvent]
    assert [type(event) for event in files] == kinds
    assert isinstance(saved, palaver.AttachmentSavedEvent) and saved.data.id == "a1"
    assert isinstance(approval, palaver.ApprovalRequiredEvent) and approval.data.name == "fetch"
    print("chat", len(events))

    page = api.list_sessions(username="alice", page=1, page_size=1).data
    assert page.total >= len(page.sessions) == 1, page
    print("sessions", page.total, page.sessions[0].created_at.year)

    uploaded = api.upload_file(file=("notes.txt", b"Hello, file")).data
    content = api.get_file(attachment_id=uploaded.attachment_id)
    assert bytes(content) == b"Hello, file", content
    print("file", uploaded.type)

    try:
        api.get_run(run_id="nowhere")
    except palaver.exceptions.NotFoundException as error:
        assert isinstance(error.data, palaver.ErrorResponse)
        print("error", error.data.code)
    else:
        sys.exit("no error")
