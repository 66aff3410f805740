"""What the published document says of Second Me's chat: body, answer and errors, with examples."""

from app.completions.respond import RUN_ID
from app.doors.second_me.schemas import CHAT_COMPLETION, CHAT_REQUEST, Kernel2Chunk
from app.edge.operation import Answer, Body

_CHUNK = {
    "id": "chatcmpl-6f1c2d1e-4c2b-4d57-9f0c-0a4d1d1f2a3b",
    "object": "chat.completion.chunk",
    "created": 1790000000,
    "model": "gpt-4.1-mini",
    "system_fingerprint": "fp_44709d6fcb",
    "choices": [{"index": 0, "delta": {"content": "Hello!"}, "finish_reason": None}],
}
_COMPLETION = {
    **_CHUNK,
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello!"}, "finish_reason": "stop"}],
    "usage": {"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 13},
}
_MESSAGE = {"role": "user", "content": "Where is the ladder?"}

CHAT_BODY = Body(
    CHAT_REQUEST,
    examples={
        "plain": {"messages": [_MESSAGE], "metadata": {"enable_l0_retrieval": True}},
        "former": {"message": "Where is the ladder?", "system_prompt": "Be brief.", "history": []},
    },
)
CHAT_ANSWER = Answer(
    "The chunks, or without `stream` the completion",
    CHAT_COMPLETION,
    example=_COMPLETION,
    headers=RUN_ID,
    stream=Answer("Chunks", Kernel2Chunk, example=[_CHUNK], media_type="text/event-stream"),
)
CHAT_ERRORS = {
    400: "messages must be a list with at least one message (messages)",
    404: "Role not found",
    413: "The file in messages[0].content[0].file.file_data is larger than 10485760 bytes",
    422: "report.pdf cannot be read: it is encrypted",
    429: "Too many replies at once",
    500: "Internal server error",
    502: "The model server failed",
    503: "The database is not available at the moment; nothing was changed",
    504: "The model server did not answer in time",
}
