"""The scenarios, as data: what is measured, and what issues 5 (retrieval), 6 and 15 (tools) ask of it."""

from collections.abc import Sequence

from bench.measures import (
    bots,
    conversations,
    databases,
    knowledge,
    memory,
    requests,
    servers,
    steps,
    streams,
    transfers,
)
from bench.scenario import Row, Scenario, Target

_SYSTEMS = {
    "chat": "/api/v1/chat",
    "v1": "/v1, stateless",
    "model": "the model server itself",
    "portkey": "Portkey",
    "litellm": "LiteLLM",
}


def _rates(clients: int, systems: Sequence[str]) -> tuple[Row, ...]:
    said = "client" if clients == 1 else "clients"
    rows: list[Row] = []
    for system in systems:
        name = f"{_SYSTEMS[system]}, {clients} {said}"
        rows += [
            Row(f"{system}_rate", f"{name}: tokens", "tokens/s"),
            Row(f"{system}_cpu", f"{name}: CPU", "ms/request"),
            Row(f"{system}_first", f"{name}: first token, p50", "ms"),
        ]
    return tuple(rows)


def _unpaced(clients: int) -> Scenario:
    return Scenario(f"streams-{clients}", streams.unpaced(clients), _rates(clients, ("model", "chat", "v1")))


SCENARIOS: Sequence[Scenario] = (
    Scenario(
        "streams-16",
        streams.unpaced(16),
        (
            Row("v1_to_portkey", "/v1, stateless, against Portkey: tokens/s", "x", Target(">=", 1.0)),
            Row("chat_to_portkey", "/api/v1/chat, stored, against Portkey: tokens/s", "x", Target(">=", 0.7)),
            Row("chat_to_litellm", "/api/v1/chat, stored, against LiteLLM: tokens/s", "x", Target(">=", 15)),
            *_rates(16, tuple(_SYSTEMS)),
            *(Row(f"{system}_rss", f"{_SYSTEMS[system]}: memory", "MB") for system in _SYSTEMS),
        ),
    ),
    _unpaced(1),
    _unpaced(64),
    _unpaced(256),
    Scenario(
        "first-token",
        streams.first_token,
        (
            Row("chat_p50", "/api/v1/chat: first token added over the model server, p50", "ms", Target("<", 4)),
            Row("chat_p99", "/api/v1/chat: the same, p99", "ms", Target("<", 10)),
            Row("chat_cpu", "/api/v1/chat: CPU, one client", "ms/request"),
            Row("v1_p50", "/v1, stateless: first token added, p50", "ms", Target("<", 2.5)),
            Row("v1_p99", "/v1, stateless: the same, p99", "ms", Target("<", 6)),
            Row("v1_cpu", "/v1, stateless: CPU, one client", "ms/request"),
        ),
    ),
    Scenario(
        "long-replies",
        streams.long_replies,
        (
            Row("chat_token", "/api/v1/chat, 2,000 tokens: CPU per token more", "us", Target("<", 15)),
            Row("chat_rate", "/api/v1/chat, 2,000 tokens: tokens", "tokens/s"),
            Row("v1_token", "/v1, 2,000 tokens: CPU per token more", "us", Target("<", 15)),
            Row("v1_rate", "/v1, 2,000 tokens: tokens", "tokens/s"),
        ),
    ),
    Scenario(
        "paced",
        streams.paced,
        (
            Row("chat_gap", "/api/v1/chat, 256 streams of 50 tokens/s: gap added, p99", "ms", Target("<", 50)),
            Row("chat_pace", "/api/v1/chat, the same: time of a reply over its nominal, p99", "x", Target("<=", 1.05)),
            Row("chat_cores", "/api/v1/chat, the same: CPU", "cores"),
            Row("chat_token", "/api/v1/chat, the same: CPU per token", "us"),
            Row("v1_gap", "/v1, 256 streams of 50 tokens/s: gap added, p99", "ms", Target("<", 50)),
            Row("v1_pace", "/v1, the same: time of a reply over its nominal, p99", "x", Target("<=", 1.05)),
            Row("v1_cores", "/v1, the same: CPU", "cores"),
            Row("v1_token", "/v1, the same: CPU per token", "us"),
        ),
    ),
    Scenario(
        "idle-streams",
        memory.idle_streams,
        (
            Row("stream", "memory of an open, idle stream", "KB", Target("<", 60)),
            Row("rss", "memory with all of them open", "MB"),
        ),
    ),
    Scenario(
        "stopped-reader",
        memory.stopped_reader,
        (
            Row("growth", "a stopped reader of 5,000 tokens: memory", "MB", Target("<", 2)),
            Row("others", "others' first token meanwhile, p50, over before", "x"),
        ),
    ),
    Scenario(
        "long-sessions",
        conversations.long_sessions,
        (
            Row("cpu_ratio", "a turn at 10,000 messages over one at 10: CPU", "x", Target("<=", 1.2)),
            Row("wall_ratio", "the same: time, p50", "x", Target("<=", 1.2)),
            Row("medium_ratio", "over one at 100 messages (as long a prompt): CPU", "x"),
            Row("wall", "a turn at 10,000 messages, p50", "ms"),
        ),
    ),
    Scenario(
        "steps",
        steps.steps,
        (
            Row("step", "a step with a call of a tool: time added to a chat, p50", "ms", Target("<", 3)),
            Row("cpu", "the same: CPU", "ms"),
        ),
    ),
    Scenario(
        "tool-calls",
        steps.tool_calls,
        (
            Row("spread", "64 chats over 4 s, five calls of 50 ms each: time over the calls'", "x", Target("<", 1.3)),
            Row("burst", "the same, begun at once", "x"),
            Row("cpu", "a step with such a call: CPU, with the tool's process", "ms"),
        ),
    ),
    Scenario(
        "session-list",
        conversations.session_list,
        (
            Row("usual", "page 1 of 1,000 sessions of a user among 1,000,000, p50", "ms", Target("<", 5)),
            Row("usual_p99", "the same, p99", "ms"),
            Row("busiest", "page 1 of 500,000 sessions of a user, p50", "ms", Target("<", 5)),
        ),
    ),
    Scenario(
        "retrieval",
        knowledge.retrieval,
        (
            Row("words_3", "full text alone: right passage among the first 3", "of 1", Target(">=", 0.85)),
            Row("words_3_en", "the same, English", "of 1"),
            Row("words_3_zh", "the same, Chinese", "of 1"),
            Row("words_mrr", "full text alone: mean reciprocal rank", "of 1"),
            Row("fused_3", "fused with a small local embedding: among the first 3", "of 1"),
            Row("fused_3_en", "the same, English", "of 1"),
            Row("fused_3_zh", "the same, Chinese", "of 1"),
            Row("fused_mrr", "fused: mean reciprocal rank", "of 1"),
            Row("silent", "relevant_only: questions about other things that get nothing", "%"),
            Row("lost", "relevant_only: answers among the first 5 that it leaves out", "%"),
        ),
    ),
    Scenario(
        "knowledge",
        knowledge.knowledge,
        (
            Row("beside_p50", "search of 100,000 passages beside 16 paced chats, p50", "ms", Target("<", 20)),
            Row("beside_p99", "the same, p99", "ms"),
            Row("alone_p50", "search alone, p50", "ms"),
            Row("alone_p99", "the same, p99", "ms"),
            Row("crowded_p50", "search beside 16 chats that take all of the server, p50", "ms"),
            Row("crowded_p99", "the same, p99", "ms"),
            Row("rate", "indexing, from upload to ready", "passages/s", Target(">=", 2000)),
            Row("rate_beside", "the same beside 16 paced chats", "passages/s"),
            Row("gap_idle", "16 paced chats, a token every 20 ms: gap between tokens, p99", "ms"),
            Row("gap_beside", "the same while documents are indexed", "ms"),
            Row("rss", "memory with all of it indexed", "MB"),
        ),
    ),
    Scenario(
        "json-request",
        requests.json_request,
        (
            Row("ratio", "a request with a key over bare Quart: CPU", "x", Target("<=", 1.3)),
            Row("wall_ratio", "the same: time", "x"),
            Row("cpu", "a request with a key: CPU", "ms"),
            Row("bare_cpu", "bare Quart: CPU", "ms"),
        ),
    ),
    Scenario(
        "transfers",
        transfers.files,
        (
            Row("up_to_cp", "upload of 1 GB against cp (no proxy): speed", "x", Target(">=", 0.5)),
            Row("down_to_cp", "download of 1 GB against cp (no proxy): speed", "x", Target(">=", 0.5)),
            Row("up_by_nginx", "upload of 1 GB through nginx against cp: speed", "x", Target(">=", 0.5)),
            Row("down_by_nginx", "download of 1 GB through nginx against cp: speed", "x", Target(">=", 0.5)),
            Row("up_growth", "upload of 1 GB: memory", "MB", Target("<", 32)),
            Row("down_growth", "download of 1 GB: memory", "MB", Target("<", 32)),
            Row("up_cpu", "upload: CPU", "s/GB"),
            Row("up_speed", "upload", "MB/s"),
            Row("down_speed", "download", "MB/s"),
            Row("cp_speed", "cp", "MB/s"),
        ),
    ),
    Scenario(
        "servers",
        servers.following,
        (
            Row("added_p50", "64 runs of 50 tokens/s read at another server: added, p50", "ms"),
            Row("added_p99", "64 runs of 50 tokens/s read at another server: added, p99", "ms", Target("<", 50)),
            Row("a_token", "the same: CPU per token of the server that makes and streams them", "us"),
            Row("b_token", "the same: CPU per token of the other server", "us"),
            Row("stop_p50", "a stop at another server until the reader has the end, p50", "ms"),
            Row("stop_p99", "a stop at another server until the reader has the end, p99", "ms", Target("<", 100)),
        ),
    ),
    Scenario(
        "databases",
        databases.chats,
        (
            Row("ratio", "16 clients on PostgreSQL, requests a second: of those on SQLite", "x", Target(">=", 0.5)),
            Row("sqlite_rate", "the same on SQLite", "requests/s"),
            Row("postgres_rate", "the same on PostgreSQL", "requests/s"),
            Row("sqlite_cpu", "the server's CPU on SQLite", "ms/request"),
            Row("postgres_cpu", "the server's CPU on PostgreSQL", "ms/request"),
            Row("postgres_own", "PostgreSQL's own CPU", "ms/request"),
            Row("two_ratio", "two servers: their CPU for a request, of one server's", "x", Target("<=", 1.1)),
        ),
    ),
    Scenario(
        "bots",
        bots.inbound,
        (
            Row("p99", "200 events/s from 1,000 chats of 50 bots, 64 replies shown: p99", "ms", Target("<", 100)),
            Row("p50", "the same: acknowledged, p50", "ms"),
            Row("most", "the same: the slowest", "ms"),
            Row("cores", "the same: CPU", "cores"),
        ),
    ),
    Scenario(
        "start",
        requests.starting,
        (Row("seconds", "start to first answer, empty data folder", "s", Target("<", 1.5)),),
    ),
)
