"""The command line, as an operator has it: real processes, what they print, and how they end."""

import asyncio
import json
import re
import signal
import socket
import sqlite3
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.support.programs import Program, plain_environment, start_palaver

KEY = re.compile(r"\bplv_[0-9A-Za-z]{38}\b")
SECONDS = 30


@dataclass(slots=True)
class Outcome:
    """How a command ended and what it said."""

    code: int | None
    out: str
    err: str

    @property
    def last_line(self) -> str:
        return self.out.splitlines()[-1]

    def assert_refused(self, message: str, code: int = 1) -> None:
        """Exit code and one line on standard error, without a traceback and without anything on standard output."""
        assert (self.code, self.out) == (code, "")
        (line,) = self.err.splitlines()
        assert line.startswith("Error: ")
        assert message in line


async def start(*arguments: object, **environment: str) -> Program:
    return await start_palaver(
        *map(str, arguments), environment={**plain_environment(), **environment}, stderr=asyncio.subprocess.PIPE
    )


async def palaver(*arguments: object, **environment: str) -> Outcome:
    process = await start(*arguments, **environment)
    async with asyncio.timeout(SECONDS):
        out, err = await process.communicate()
    return Outcome(process.returncode, out.decode(), err.decode())


@dataclass(slots=True)
class Serving:
    """A `palaver serve` that says that it listens; `greeting` are its first lines."""

    process: Program
    data_dir: Path
    greeting: list[str] = field(default_factory=list)

    @property
    def url(self) -> str:
        match = re.search(r"listens on (http://\S+),", self.greeting[0])
        assert match is not None
        return match[1]

    @property
    def keys(self) -> list[str]:
        return [line for line in self.greeting if KEY.fullmatch(line)]

    async def status(self, path: str = "/api/v1/im/bots", **headers: str) -> int:
        async with httpx2.AsyncClient(trust_env=False, timeout=SECONDS) as client:
            return (await client.get(self.url + path, headers=headers)).status_code

    async def is_good(self, key: str) -> bool:
        status = await self.status(**{"X-API-Key": key})
        assert status in (200, 401)
        return status == 200

    async def end(self, signal_number: int = signal.SIGTERM) -> Outcome:
        self.process.send_signal(signal_number)
        async with asyncio.timeout(SECONDS):
            out, err = await self.process.communicate()
        return Outcome(self.process.returncode, "\n".join(self.greeting) + "\n" + out.decode(), err.decode())


@asynccontextmanager
async def serving(data_dir: Path, *arguments: object, **environment: str) -> AsyncIterator[Serving]:
    process = await start("serve", "--data-dir", data_dir, "--port", 0, *arguments, **environment)
    assert process.stdout is not None
    assert process.stderr is not None
    started = Serving(process, data_dir)
    try:
        async with asyncio.timeout(SECONDS):
            while not re.match(r"(New keys:|curl )", started.greeting[-1] if started.greeting else ""):
                line = await process.stdout.readline()
                assert line, (started.greeting, await process.stderr.read())
                started.greeting.append(line.decode().rstrip("\n"))
        yield started
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()


async def test_a_first_start_makes_a_key_and_a_curl_line_that_works(data_dir: Path) -> None:
    async with serving(data_dir) as server:
        (key,) = server.keys
        assert server.greeting[1] == f"Data folder: {data_dir}"
        assert server.greeting[2].startswith("Model server: embedded (set OPENAI_API_KEY")
        line = server.greeting[-1]
        assert line == (
            f"curl -N {server.url}/api/v1/chat -H 'X-API-Key: {key}' -H 'Content-Type: application/json' "
            """-d '{"username":"alice","message":"Hello"}'"""
        )
        curl = await asyncio.create_subprocess_shell(f"{line} -sS", stdout=asyncio.subprocess.PIPE)
        out, _ = await curl.communicate()
        events = [json.loads(each.removeprefix("data: ")) for each in out.decode().splitlines() if each[:5] == "data:"]
        assert [events[0]["type"], events[-1]["type"]] == ["session_id", "end"]
        assert any(event["type"] == "complete" and event["data"] for event in events)
        for path, status in (("/api/v1/configs", 200), ("/api/v1/api-keys", 403)):
            assert await server.status(path, **{"X-API-Key": key}) == status


async def test_the_first_key_is_printed_once(data_dir: Path) -> None:
    async with serving(data_dir) as server:
        (key,) = server.keys
        assert (await server.end()).code == 0
    async with serving(data_dir) as server:
        assert server.greeting[-1].startswith("New keys: ")
        assert " keys create --name NAME --scope chat" in server.greeting[-1]
        assert await server.is_good(key)
        outcome = await server.end()
        assert not KEY.search(outcome.out)
    listing = await palaver("keys", "list", "--data-dir", data_dir)
    assert listing.out.count("first key") == 1


async def test_no_first_key_is_made_where_the_operator_gave_one(data_dir: Path) -> None:
    async with serving(data_dir, PALAVER_API_KEYS="agent=lang-agent-key-of-old-times") as server:
        assert server.keys == []
        assert await server.is_good("lang-agent-key-of-old-times")


async def test_the_data_folder_is_for_its_owner_only(data_dir: Path) -> None:
    async with serving(data_dir):
        assert stat.S_IMODE(data_dir.stat().st_mode) == 0o700
        for path in data_dir.rglob("*"):
            assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0, path


async def test_a_real_model_server_is_named(data_dir: Path) -> None:
    async with serving(data_dir, OPENAI_BASE_URL="http://127.0.0.1:9/v1") as server:
        assert server.greeting[2] == "Model server: openai_chat_completion"


async def test_unusable_surroundings_are_warnings_and_the_server_starts(data_dir: Path) -> None:
    async with serving(
        data_dir,
        OPENAI_BASE_URL='"http://127.0.0.1:9/v1"\r',
        PALAVER_LOG_LEVLE="debug",
        ALL_PROXY="quic://127.0.0.1:9",
        SSL_CERT_FILE="/nonexistent/ca.pem",
    ) as server:
        assert server.greeting[2] == "Model server: openai_chat_completion"
        outcome = await server.end()
    warnings = [line for line in outcome.err.splitlines() if "warning" in line]
    assert len(warnings) == 3
    for line, parts in zip(
        warnings,
        [("PALAVER_LOG_LEVLE", "PALAVER_LOG_LEVEL"), ("SSL_CERT_FILE", "/nonexistent/ca.pem"), ("ALL_PROXY",)],
        strict=True,
    ):
        assert all(part in line for part in parts), line


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it_in_good_order(data_dir: Path, signal_number: int) -> None:
    async with serving(data_dir) as server:
        async with httpx2.AsyncClient(trust_env=False) as idle:
            assert (await idle.get(f"{server.url}/health")).json() == {"status": "healthy"}
            outcome = await server.end(signal_number)
        assert outcome.code == 0
        assert "Traceback" not in outcome.err
        assert outcome.err.splitlines()[-1] == "Stopping ..."
    # Nothing is left that would keep the next one from starting.
    async with serving(data_dir) as server:
        assert await server.status("/health") == 200


async def test_it_starts_again_after_it_was_killed(data_dir: Path) -> None:
    async with serving(data_dir) as server:
        (key,) = server.keys
        assert (await server.end(signal.SIGKILL)).code == -signal.SIGKILL
    async with serving(data_dir) as server:
        assert await server.is_good(key)


async def test_a_port_in_use_is_one_line(data_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        outcome = await palaver("serve", "--data-dir", data_dir, "--port", port)
    outcome.assert_refused(f"Port {port} on 127.0.0.1 is in use: stop what listens there, or choose another")


async def test_a_second_server_on_one_data_folder_is_refused(data_dir: Path) -> None:
    async with serving(data_dir) as server:
        outcome = await palaver("serve", "--data-dir", data_dir, "--port", 0)
        outcome.assert_refused(f"Another palaver serve uses the data folder {data_dir}")
        assert await server.status("/health") == 200


@pytest.mark.parametrize("command", [["serve", "--port", "0"], ["keys", "list"], ["db", "upgrade"]])
async def test_a_data_folder_that_cannot_be_is_one_line(tmp_path: Path, command: list[str]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    (await palaver(*command, "--data-dir", file)).assert_refused(f"Cannot use the data folder {file}: it is a file")
    below = await palaver(*command, "--data-dir", file / "data")
    below.assert_refused(f"Cannot use the data folder {file / 'data'}: Not a directory")


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("PALAVER_PORT", "http", "PALAVER_PORT: "),
        ("PALAVER_LOG_LEVEL", "loud", "PALAVER_LOG_LEVEL: "),
        ("PALAVER_CONFIG", "/nowhere.toml", "PALAVER_CONFIG names /nowhere.toml, which is not a file"),
        ("PALAVER_SECRET_KEY", "no hex", "the master key is not written in hexadecimal"),
        ("PALAVER_SECRET_KEY", "abcd", "the master key is shorter than 32 bytes"),
        ("PALAVER_DEFAULT_PROVIDER", "nope", "the default provider nope is not among the providers"),
        ("PALAVER_HOST", "no-such-host.invalid", "Cannot listen on no-such-host.invalid: no such host"),
        ("PALAVER_HOST", "192.0.2.1", "Cannot listen on 192.0.2.1: not an address of this machine"),
    ],
)
async def test_a_wrong_setting_is_one_line(data_dir: Path, variable: str, value: str, message: str) -> None:
    outcome = await palaver("serve", "--data-dir", data_dir, **{"PALAVER_PORT": "0", variable: value})
    outcome.assert_refused(message)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("palaver.toml", b"port = [", "palaver.toml is not TOML: "),
        ("palaver.toml", b"prot = 6185", "palaver.toml: prot is not a setting; did you mean port?"),
        ("palaver.toml", "port = 1".encode("utf-16"), "palaver.toml is not TOML: the file is UTF-16"),
        (
            "palaver.toml",
            b"[[api_keys]]\nkey = 'a-fixed-key-of-a-team'\nscopes = ['root']",
            "Unknown scope: root",
        ),
        ("secret.key", b"lost", "secret.key: the master key is not written in hexadecimal"),
        ("palaver.db", b"this is no database, and long enough to be one" * 100, "file is not a database"),
    ],
)
async def test_a_damaged_file_is_one_line(data_dir: Path, name: str, content: bytes, message: str) -> None:
    data_dir.mkdir()
    (data_dir / name).write_bytes(content)
    (await palaver("serve", "--data-dir", data_dir, "--port", 0)).assert_refused(message)
    (await palaver("keys", "list", "--data-dir", data_dir)).assert_refused(message)


async def test_a_database_of_a_newer_version_is_left_alone(data_dir: Path) -> None:
    await palaver("db", "upgrade", "--data-dir", data_dir)
    with sqlite3.connect(data_dir / "palaver.db") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    for command in (["serve", "--port", "0"], ["keys", "list"], ["db", "upgrade"]):
        outcome = await palaver(*command, "--data-dir", data_dir)
        outcome.assert_refused("The database was made by a newer version of Palaver")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1"])
async def test_no_auth_is_refused_off_loopback(data_dir: Path, host: str) -> None:
    outcome = await palaver("serve", "--data-dir", data_dir, "--no-auth", "--host", host)
    outcome.assert_refused(f"it needs a loopback host, not {host}")
    assert not data_dir.exists()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
async def test_no_auth_on_loopback_serves_without_a_key(data_dir: Path, host: str) -> None:
    async with serving(data_dir, "--no-auth", "--host", host) as server:
        assert server.url.startswith(f"http://{host}:")
        assert server.keys == []
        assert "X-API-Key" not in server.greeting[-1]
        assert await server.status() == 200
        assert await server.status("/api/v1/api-keys") == 403


async def test_a_server_on_all_addresses_says_one_that_can_be_called(data_dir: Path) -> None:
    async with serving(data_dir, "--host", "0.0.0.0") as server:
        assert server.url.startswith("http://127.0.0.1:")
        assert await server.status("/health") == 200


async def test_answers_do_not_say_what_serves_them(data_dir: Path) -> None:
    async with serving(data_dir) as server, httpx2.AsyncClient(trust_env=False) as client:
        assert "server" not in (await client.get(f"{server.url}/health")).headers


@pytest.mark.databases("postgresql")
async def test_server_and_commands_use_the_database_that_is_configured(data_dir: Path, database_url: str) -> None:
    variables = {"PALAVER_DATABASE_URL": database_url}
    async with serving(data_dir, **variables) as server:
        (first,) = server.keys
        command = ("keys", "create", "--name", "shop", "--scope", "im", "--data-dir", data_dir)
        created = (await palaver(*command, **variables)).last_line
        assert [await server.is_good(key) for key in (first, created)] == [True, True]
    async with serving(data_dir, **variables) as server:
        assert server.keys == []
        assert await server.is_good(created)
    listed = await palaver("keys", "list", "--data-dir", data_dir, **variables)
    assert [listed.out.count(name) for name in ("first key", "shop")] == [1, 1]
    assert not (data_dir / "palaver.db").exists()


async def test_keys_are_made_listed_rotated_revoked_and_deleted_while_the_server_runs(data_dir: Path) -> None:
    async def keys(*arguments: object) -> Outcome:
        outcome = await palaver("keys", *arguments, "--data-dir", data_dir)
        assert outcome.code == 0, outcome.err
        return outcome

    async with serving(data_dir) as server:
        created = await keys("create", "--name", "shop", "--scope", "im", "--scope", "chat", "--username", "alice")
        key = created.last_line
        assert KEY.fullmatch(key)
        assert await server.is_good(key)

        listing = (await keys("list")).out
        row = next(line for line in listing.splitlines() if "shop" in line)
        key_id = row.split()[0]
        assert row.split()[1:6] == ["live", "shop", key[:10], "chat,im", "alice"]
        assert not KEY.search(listing)

        rotated = (await keys("rotate", key_id, "--overlap-seconds", 600)).last_line
        assert [await server.is_good(each) for each in (key, rotated)] == [True, True]
        newest = (await keys("rotate", key_id)).last_line
        assert [await server.is_good(each) for each in (key, rotated, newest)] == [False, False, True]

        await keys("revoke", key_id)
        assert not await server.is_good(newest)
        assert "revoked" in (await keys("list")).out
        await keys("delete", key_id)
        assert key_id not in (await keys("list")).out


async def test_a_key_with_an_expiry_ends_by_itself(data_dir: Path) -> None:
    created = await palaver(
        *("keys", "create", "--name", "brief", "--scope", "chat", "--expires-in-days", "0.5", "--data-dir", data_dir)
    )
    assert KEY.fullmatch(created.last_line)
    row = (await palaver("keys", "list", "--data-dir", data_dir)).out.splitlines()[1]
    assert len(re.findall(r"\d{4}-\d\d-\d\d \d\d:\d\d", row)) == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "--name", " ", "--scope", "chat"], "name is empty"),
        (["create", "--name", "x", "--scope", "chat", "--expires-in-days", "0"], "expires_in_days must be above 0"),
        (["create", "--name", "x", "--scope", "chat", "--expires-in-days", "nan"], "expires_in_days must be above 0"),
        (["revoke", "unknown"], "API key not found"),
        (["rotate", "unknown"], "API key not found"),
        (["rotate", "unknown", "--overlap-seconds", "-1"], "--overlap-seconds must be between 0 and 604800"),
        (["rotate", "unknown", "--overlap-seconds", "inf"], "--overlap-seconds must be between 0 and 604800"),
        (["delete", "unknown"], "API key not found"),
    ],
)
async def test_what_cannot_be_done_to_keys_is_one_line(data_dir: Path, arguments: list[str], message: str) -> None:
    (await palaver("keys", *arguments, "--data-dir", data_dir)).assert_refused(message)


async def test_an_unknown_scope_is_refused_with_the_known_ones(data_dir: Path) -> None:
    outcome = await palaver("keys", "create", "--name", "x", "--scope", "root", "--data-dir", data_dir)
    assert (outcome.code, outcome.out) == (2, "")
    assert "'root' is not one of 'chat', 'config', 'file', 'im', 'knowledge', 'admin'" in outcome.err


async def test_two_commands_on_a_new_data_folder_make_one_database(data_dir: Path) -> None:
    outcomes = await asyncio.gather(
        *(palaver("keys", "create", "--name", name, "--scope", "chat", "--data-dir", data_dir) for name in "abc")
    )
    assert [outcome.code for outcome in outcomes] == [0, 0, 0], outcomes
    listing = await palaver("keys", "list", "--data-dir", data_dir)
    assert len(listing.out.splitlines()) == 4
    assert (await palaver("db", "check", "--data-dir", data_dir)).code == 0


async def test_the_database_is_upgraded_and_checked(data_dir: Path) -> None:
    before = await palaver("db", "check", "--data-dir", data_dir)
    assert (before.code, before.err) == (1, "There is no database yet, or nothing in it: palaver db upgrade\n")
    assert (await palaver("db", "upgrade", "--data-dir", data_dir)).out.startswith("The database is now at revision ")
    again = await palaver("db", "upgrade", "--data-dir", data_dir)
    assert again.out.startswith("The database is already at revision ")
    assert (await palaver("db", "check", "--data-dir", data_dir)).out.startswith("The database is sound")


async def test_a_damaged_database_is_found(data_dir: Path) -> None:
    await palaver("db", "upgrade", "--data-dir", data_dir)
    connection = sqlite3.connect(data_dir / "palaver.db")
    connection.execute("INSERT INTO messages SELECT * FROM messages")
    connection.execute("PRAGMA foreign_keys = OFF")
    columns = [row[1] for row in connection.execute("PRAGMA table_info(runs)") if row[3] or row[1] == "session_id"]
    values = ", ".join("'x'" for _ in columns)
    connection.execute(f"INSERT INTO runs ({', '.join(columns)}) VALUES ({values})")
    connection.commit()
    connection.close()
    outcome = await palaver("db", "check", "--data-dir", data_dir)
    assert outcome.code == 1
    assert "A row of runs names one of sessions that is not there" in outcome.err


async def test_the_document_is_printed_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = await palaver("openapi", "--check")
    missing.assert_refused("openapi.json is not what the routes say: make openapi")
    # The settings of whoever prints it make no difference.
    printed = await palaver("openapi", PALAVER_CORS_ORIGINS="https://a.example", PALAVER_CONFIG="/nowhere.toml")
    assert json.loads(printed.out)["openapi"].startswith("3.1")
    (tmp_path / "openapi.json").write_text(printed.out)
    assert (await palaver("openapi", "--check")).out == "openapi.json is up to date\n"
    (tmp_path / "openapi.json").write_text(printed.out.replace("3.1", "3.0", 1))
    (await palaver("openapi", "--check")).assert_refused("openapi.json is not what the routes say")
    assert [path.name for path in tmp_path.iterdir()] == ["openapi.json"]


async def test_defect_22_a_server_never_logs_a_key(data_dir: Path) -> None:
    environment = {"PALAVER_LOG_LEVEL": "debug", "PALAVER_ALLOW_QUERY_KEYS": "true"}
    async with serving(data_dir, **environment) as server:
        (key,) = server.keys
        assert await server.status(**{"X-API-Key": key}) == 200
        assert await server.status(f"/api/v1/im/bots?api_key={key}") == 200
        assert await server.status(**{"Authorization": f"Bearer {key}x"}) == 401
        outcome = await server.end()
    assert outcome.err.count("/api/v1/im/bots") >= 3
    assert key[4:] not in outcome.err
    assert outcome.out.count(key) == 2  # the key, and the line to try it with


async def test_a_stranger_finds_the_commands() -> None:
    outcome = await palaver("--help")
    assert outcome.code == 0
    for command in ("serve", "keys", "db", "openapi"):
        assert f"\n  {command} " in outcome.out
    assert (await palaver("--version")).out.startswith("palaver, version ")
