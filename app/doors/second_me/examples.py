"""Body, answer and errors of Second Me's chat for the published document, with examples."""

from app.completions.examples import UPSTREAM_ERRORS, chunk_example, completion_example
from app.completions.respond import RUN_ID
from app.doors.second_me.schemas import CHAT_COMPLETION, CHAT_REQUEST, Kernel2Chunk
from app.edge.operation import Answer, Body

_FINGERPRINT = {"system_fingerprint": "fp_44709d6fcb"}
_CHUNK = chunk_example({"content": "Hello!"}, _FINGERPRINT)
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
    example=completion_example(_FINGERPRINT),
    headers=RUN_ID,
    stream=Answer("Chunks", Kernel2Chunk, example=[_CHUNK], media_type="text/event-stream"),
)
CHAT_ERRORS = {
    400: "messages must be a list with at least one message (messages)",
    404: "Role not found",
    413: "The file in messages[0].content[0].file.file_data is larger than 10485760 bytes",
    422: "report.pdf cannot be read: it is encrypted",
    **UPSTREAM_ERRORS,
}
