"""What a trial does: its size, and the messages that come out of its seed."""

from dataclasses import dataclass
from enum import StrEnum
from random import Random

from chaos.script import message


class Door(StrEnum):
    SSE = "sse"
    WEBSOCKET = "websocket"


@dataclass(frozen=True, slots=True)
class Plan:
    """The storm ends when there were `kills` and `cuts`, or after `seconds`; the audit comes on top.

    With `outages`, PostgreSQL is away now and then. The clocks of two servers are at most `skew` seconds apart.
    """

    seed: int = 1
    seconds: float = 540.0
    kills: int = 50
    cuts: int = 1000
    clients: int = 24
    sessions: int = 12
    servers: int = 1
    outages: bool = False
    skew: float = 0.0


@dataclass(frozen=True, slots=True)
class Session:
    """A session that several clients share. In an unruly one they also interrupt and refuse to wait."""

    id: str
    username: str
    unruly: bool = False

    @property
    def umo(self) -> str:
        return f"webchat:FriendMessage:{self.id}"


@dataclass(frozen=True, slots=True)
class Errand:
    """One message that a client has to bring home; `name` is in its text and is its idempotency key."""

    name: str
    session: Session
    text: str
    door: Door
    streaming: bool
    on_busy: str | None
    copies: int


def sessions_of(plan: Plan) -> list[Session]:
    unruly = max(1, plan.sessions // 6)
    # Named like the session: a bot message may come first, and makes the session its own.
    return [Session(f"s{n}", f"s{n}", unruly=n < unruly) for n in range(plan.sessions)]


def errand(random: Random, name: str, session: Session) -> Errand:
    words = random.choice((5, 20, 40, 80))
    marks: dict[str, object] = {"delay": random.choice((0.002, 0.005, 0.01, 0.02))}
    fault = _fault(random, words)
    if fault is not None:
        marks[fault[0]] = fault[1]
    elif random.random() < 0.5:
        marks["tools"] = random.choice((1, 2, 3))
    return Errand(
        name=name,
        session=session,
        text=message(name, words, marks),
        door=Door.WEBSOCKET if random.random() < 0.3 else Door.SSE,
        streaming=random.random() < 0.9,
        on_busy=random.choice(("queue", "queue", "reject", "interrupt")) if session.unruly else None,
        copies=random.choice((1, 1, 1, 1, 1, 2, 3)),
    )


def _fault(random: Random, words: int) -> tuple[str, int] | None:
    roll = random.random()
    if roll < 0.12:
        return random.choice(("cut", "ended", "error", "broken")), random.randrange(words)
    if roll < 0.14:
        return "stall", random.randrange(words)
    if roll < 0.16:
        return "silent", 0
    if roll < 0.20:
        return "status", random.choice((400, 401, 404))
    if roll < 0.25:
        return "flaky", random.choice((1, 2))
    if roll < 0.37:
        return random.choice(("lie", "lie", "odd", "unended")), random.randrange(words)
    return None
