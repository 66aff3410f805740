"""Every setting, in one frozen object: read once, by the composition root and the command line.

Sources, the first that has a value wins: the command line, the environment (`PALAVER_` and the field's name in
capitals), the TOML file that `PALAVER_CONFIG` names (`<data_dir>/palaver.toml` if it does not), the default. Each
field's description becomes its row in docs/settings.md.
"""

import re
import tomllib
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings.exceptions import SettingsError

from app.environment import PREFIX, UnknownVariable, nearest_name, read_environment, unknown_variables
from app.errors import OperatorError
from app.written import NO_HEADER_TEXT, cut, decode_utf8, is_header_text

MIN_KEY_CHARS = 20
DEFAULT_SCOPES = ("chat", "config", "file", "im", "knowledge")
COMPLETIONS_PATH = "/chat/completions"


def _check_address(address: str) -> str:
    """Check a model server's address, which may have a query; some people copy it with the path of the chats."""
    try:
        parts = urlsplit(address)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable or not address.isascii() or not address.isprintable() or " " in address:
        raise ValueError("not an address like http://127.0.0.1:11434/v1")
    if parts.fragment:
        raise ValueError("an address of a model server has no #")
    return parts._replace(path=parts.path.rstrip("/").removesuffix(COMPLETIONS_PATH)).geturl()


def _check_key(key: SecretStr) -> SecretStr:
    if not is_header_text(key.get_secret_value()):
        raise ValueError(NO_HEADER_TEXT)
    return key


def _check_mcp_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
    except ValueError:
        is_usable = False
    if not is_usable or not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("not a URL like https://mcp.example.com/mcp")
    return url


Address = Annotated[str, AfterValidator(_check_address)]
McpUrl = Annotated[str, AfterValidator(_check_mcp_url)]
ModelServerKey = Annotated[SecretStr, AfterValidator(_check_key)]


class ProviderSettings(BaseModel):
    """One `[[providers]]` table: a model server with OpenAI's API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=64, description="Its name in `selected_provider` and in profiles.")
    base_url: Address = Field(description="For example `http://127.0.0.1:11434/v1`; a query goes with every request.")
    api_key: ModelServerKey | None = Field(None, description="The key itself.")
    api_key_env: str | None = Field(None, description="Or the environment variable that holds the key.")
    default_model: str = Field("gpt-4.1-mini", min_length=1, description="The model when a request names none.")
    models: list[str] = Field([], description="The models a request may name; empty admits any.")
    timeout_seconds: float = Field(120.0, gt=0, description="Silence after which a reply counts as lost.")
    connect_timeout_seconds: float = Field(10.0, gt=0, description="Time to reach the server.")
    max_retries: int = Field(2, ge=0, le=10, description="Further tries before the first token.")
    extra_headers: dict[str, str] = Field({}, description="Sent with every request.")


class PriceSettings(BaseModel):
    """One `[prices."<model>"]` table: the price of a million tokens, in the currency of your choice."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    input: float = Field(ge=0, le=10**6, description="The price of a million tokens of prompts.")
    cached: float | None = Field(
        None, ge=0, le=10**6, description="The price of those that were in the cache; unset, they cost as the others."
    )
    output: float = Field(ge=0, le=10**6, description="The price of a million tokens of replies.")


class ApiKeySettings(BaseModel):
    """One key given by the operator: `[[api_keys]]` in the TOML, or `name=key` in `PALAVER_API_KEYS`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: SecretStr = Field(min_length=8, description="The key's text, of any form; 20 characters or more.")
    name: str = Field("operator", min_length=1, max_length=100, description="What the key is for.")
    scopes: list[str] = Field(list(DEFAULT_SCOPES), description="What the key may do.")
    username: str | None = Field(None, description="The one user that the key may act as; unset means any.")
    limits: dict[str, Any] = Field({}, description="Its limits, as over HTTP: `{ rpm_limit = 60 }`.")


class McpServerSettings(BaseModel):
    """One `[[mcp_servers]]` table: a server of tools, as a command or at a URL."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(
        pattern=r"^[A-Za-z0-9_-]{1,32}$",
        description="Its name, which its tools' names begin with: 1 to 32 letters, digits, `_` and `-`.",
    )
    transport: Literal["stdio", "streamable_http"] | None = Field(
        None, description="`stdio` or `streamable_http`; unset, it is the one that `command` or `url` needs."
    )
    command: str | None = Field(None, min_length=1, description="The program to run, for stdio.")
    args: list[str] = Field([], description="Its arguments.")
    env: dict[str, SecretStr] = Field(
        {}, description="Its variables, beside HOME, LOGNAME, PATH, SHELL, TERM and USER: it has no others."
    )
    cwd: str | None = Field(None, min_length=1, description="The folder that it runs in; unset means Palaver's.")
    url: McpUrl | None = Field(None, description="The endpoint, for Streamable HTTP.")
    headers: dict[str, ModelServerKey] = Field({}, description="Sent with each request.")
    connect_timeout_seconds: float = Field(10.0, gt=0, le=300, description="Time to start it, connect and list.")
    call_timeout_seconds: float = Field(60.0, gt=0, le=3600, description="Time for one call.")
    tools: list[str] = Field(["*"], description="The tools to offer: names or patterns.")
    allow_private: bool = Field(False, description="Let the URL lead to loopback and private addresses.")
    enabled: bool = Field(True, description="Whether Palaver connects to it.")

    @model_validator(mode="after")
    def _check_transport(self) -> Self:
        if (self.command is None) == (self.url is None):
            raise ValueError("needs either command or url")
        if self.transport not in (None, "stdio" if self.url is None else "streamable_http"):
            raise ValueError(f"transport {self.transport} does not fit {'command' if self.url is None else 'url'}")
        if self.url is None and (self.headers or self.allow_private):
            raise ValueError("headers and allow_private are for a url")
        if self.url is not None and (self.args or self.env or self.cwd):
            raise ValueError("args, env and cwd are for a command")
        return self


class Settings(BaseSettings):
    """The settings of a server: its address, its storage, its keys and its limits."""

    model_config = SettingsConfigDict(env_prefix="PALAVER_", frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = Field(Path("data"), description="The folder for the database, attachments, profiles and secrets.")
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(6185, ge=0, le=65535, description="The port to listen on; 0 picks a free one.")
    server: Literal["hypercorn", "uvicorn"] = Field(
        "hypercorn", description="The ASGI server; `uvicorn` is faster, and comes with `palaver[uvicorn]`."
    )
    cleartext_http2: bool = Field(
        False,
        description="Speak HTTP/2 without TLS to those who ask for it, on Hypercorn. "
        "A proxy that passes on `Upgrade: h2c` would let them past its rules.",
    )
    database_url: str | None = Field(
        None,
        description="A SQLAlchemy async URL; unset means SQLite in `<data_dir>/palaver.db`. "
        "`postgresql+asyncpg://...` needs the extra `palaver[postgres]`.",
    )
    database_pool_size: int = Field(15, ge=1, description="The most connections to PostgreSQL.")
    database_pool_timeout_seconds: float = Field(
        10.0, gt=0, description="How long a request waits for one of them that is free."
    )
    database_connect_timeout_seconds: float = Field(
        5.0, gt=0, description="How long connecting to PostgreSQL may take."
    )
    database_statement_timeout_seconds: float = Field(
        30.0, gt=0, description="How long one statement may take on PostgreSQL."
    )
    database_lock_timeout_seconds: float = Field(
        10.0, gt=0, description="How long a statement may wait for a lock on PostgreSQL."
    )
    database_pooler: bool = Field(
        False, description="PostgreSQL is reached through a pooler in transaction mode, such as PgBouncer."
    )
    bus_url: str | None = Field(
        None,
        pattern=r"^(none|(redis|rediss|unix|postgresql|postgresql\+asyncpg)://.+)$",
        description="How servers on one database tell each other what is new: `redis://...` with the extra "
        "`palaver[redis]`, or `postgresql://...` past a pooler. Unset means the database itself, or behind a pooler "
        "nothing, like `none`: everything works, and takes a second longer. Refused with SQLite, which one server has "
        "to itself.",
    )
    storage_url: str | None = Field(
        None, description="Where attachments are kept (`s3://bucket/prefix`); unset means `<data_dir>/attachments`."
    )
    secret_key: SecretStr | None = Field(
        None,
        description="The master key, 64 hexadecimal digits; unset means `<data_dir>/secret.key`, made on first use.",
    )

    no_auth: bool = Field(False, description="Serve everyone without a key; refused unless `host` is loopback.")
    allow_short_keys: bool = Field(
        False, description="Take keys given by the operator that are shorter than 20 characters, and can be guessed."
    )
    api_keys: Annotated[list[ApiKeySettings], NoDecode] = Field(
        [],
        description="Keys given by the operator: `name=key,name=key`, of 20 characters or more, with all scopes but "
        "`admin`.",
    )
    allow_query_keys: bool = Field(False, description="Also take keys from `?api_key=` and `?key=`.")
    browser_session_hours: float = Field(
        12.0, gt=0, le=24 * 365, description="How long a browser stays signed in; then it needs a new browser token."
    )
    metrics_public: bool = Field(
        True, description="Serve `/metrics` without a key; if false, the scope `admin` is needed."
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        [], description="Origins whose pages may call the API, separated by commas; `*` admits all."
    )

    openai_api_key: ModelServerKey | None = Field(
        None, validation_alias="OPENAI_API_KEY", description="The key of the provider `openai_chat_completion`."
    )
    openai_base_url: Address | None = Field(
        None, validation_alias="OPENAI_BASE_URL", description="The address of that provider, if it is not OpenAI's."
    )
    openai_model: str = Field("gpt-4.1-mini", description="The default model of that provider.")
    providers: list[ProviderSettings] = Field([], description="More model servers: `[[providers]]` tables in the TOML.")
    model_aliases: dict[str, str] = Field(
        {},
        description="More names for models on `/v1`: `[model_aliases]` in the TOML. Each stands for a profile, a "
        "model, or `<provider>/<model>`.",
    )
    prices: dict[str, PriceSettings] = Field(
        {},
        description='What models cost: `[prices."<model>"]` tables in the TOML, also for `<provider>/<model>`, and '
        "for patterns such as `gpt-*`.",
    )
    default_provider: str | None = Field(None, description="The provider to use by default; unset means the first.")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level that is logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="The form of log lines.")

    max_body_bytes: int = Field(4 * 1024**2, ge=1024, description="The largest JSON body.")
    max_upload_bytes: int = Field(100 * 1024**2, ge=1, description="The largest uploaded file.")
    max_storage_per_key: int = Field(
        10 * 1024**3, ge=0, description="The most bytes of all files of a key, documents included; 0 is no bound."
    )
    max_message_chars: int = Field(200_000, ge=1, description="The longest message, all its text together.")
    max_parts: int = Field(50, ge=1, description="The most parts in a message.")
    max_reply_seconds: float = Field(
        3600.0, gt=0, description="The longest that a reply may take, from its turn in the session to its end."
    )
    max_reply_bytes: int = Field(8 * 1024**2, ge=1024, description="The longest reply taken from a model server.")
    max_document_bytes: int = Field(25 * 1024**2, ge=1, description="The largest document that is read for a model.")
    max_document_chars: int = Field(200_000, ge=1, description="The most text of one document; the rest is cut off.")
    max_document_pages: int = Field(2_000, ge=1, description="The most pages or slides of a document.")
    max_document_unpacked_bytes: int = Field(
        200 * 1024**2, ge=1024**2, description="The most that an Office file may unpack to."
    )
    document_timeout_seconds: float = Field(30.0, gt=0, description="The longest that reading one document may take.")
    document_memory_bytes: int = Field(
        512 * 1024**2, ge=256 * 1024**2, description="The address space of a process that reads documents."
    )
    document_workers: int = Field(2, ge=1, le=64, description="The most documents read at once, each in a process.")
    max_documents_per_key: int = Field(
        100, ge=1, description="The most documents that are read or wait to be read at once, for a key."
    )
    max_documents_per_user: int = Field(50, ge=1, description="The same for one user of a key.")
    max_knowledge_document_chars: int = Field(
        5_000_000, ge=1, description="The most text of one document of a collection; the rest is cut off."
    )
    knowledge_passage_chars: int = Field(
        800,
        ge=100,
        le=8_000,
        description="The size of the passages that a collection's documents are split into.",
    )
    knowledge_passage_overlap: int = Field(
        100, ge=0, le=2_000, description="How many characters of a passage the next one repeats; less than half of it."
    )
    max_image_pixels: int = Field(50_000_000, ge=1, description="Images of more pixels are refused, undecoded.")
    max_image_side: int = Field(8_000, ge=16, description="The longest side, in pixels, of an image for a model.")
    image_oversized: Literal["scale", "refuse"] = Field("scale", description="What happens to images of longer sides.")
    image_animated: Literal["first", "refuse"] = Field(
        "refuse", description="What happens to animations: `first` takes their first picture."
    )
    image_timeout_seconds: float = Field(15.0, gt=0, description="The longest that decoding one image may take.")
    image_memory_bytes: int = Field(
        1024**3, ge=256 * 1024**2, description="The address space of a process that decodes images."
    )
    image_workers: int = Field(2, ge=1, le=64, description="The most images decoded at once, each in a process.")
    max_prompt_images: int = Field(10, ge=0, description="The most images in a request to a model server.")
    max_prompt_bytes: int = Field(
        32 * 1024**2, ge=1024**2, description="The most bytes of images in a request to a model server."
    )
    max_prompt_document_chars: int = Field(
        1_000_000, ge=1, description="The most text of documents in a request to a model server."
    )
    max_waiting_per_session: int = Field(16, ge=0, description="The most messages that wait in one session.")
    max_waiting: int = Field(2_000, ge=0, description="The most messages that wait in all sessions.")
    max_runs_per_key: int = Field(
        1_000, ge=1, description="The most replies at once, waiting ones included, for a key."
    )
    max_runs: int = Field(4_000, ge=1, description="The same for all keys together.")
    max_streams_per_key: int = Field(2_000, ge=1, description="The most open streams for a key.")
    max_streams: int = Field(8_000, ge=1, description="The same for all keys together.")
    max_websockets_per_key: int = Field(500, ge=1, description="The most open WebSockets for a key.")
    max_websockets: int = Field(4_000, ge=1, description="The same for all keys together.")
    websocket_idle_seconds: float = Field(
        900.0, gt=0, description="A WebSocket without a frame or a reply for so long is closed."
    )
    openai_default_session: str | None = Field(
        None,
        max_length=200,
        description="The session of requests to `/v1` that name none, with every key; empty makes them stateless. "
        "Unset, it is `api:default` for keys that are bound to a user and with `no_auth`, and none for other keys.",
    )
    openai_unknown_model: Literal["ask", "default"] = Field(
        "ask",
        description="What `/v1` does with an unknown name: `ask` the first provider without configured `models`, or "
        "answer with the `default` model.",
    )
    require_session_key: bool = Field(False, description="Refuse requests to `/v1` without the header x-session-key.")
    openai_max_body_bytes: int = Field(
        64 * 1024**2, ge=1024, description="The largest request to `/v1`, its files included."
    )
    drain_seconds: float = Field(20.0, ge=0, description="How long open replies may go on after SIGTERM.")
    fetch_allow_private: bool = Field(
        False, description="Let the tool `fetch_page` fetch from loopback and private addresses."
    )
    webhook_allow_private: bool = Field(
        False, description="Let bots call loopback and private addresses: webhooks, and platforms by `api_base_url`."
    )
    mcp_servers: list[McpServerSettings] = Field(
        [], description="Servers of [tools](tools.md#mcp-servers): `[[mcp_servers]]` tables in the TOML."
    )
    providers_allow_private: bool = Field(
        False, description="Let model servers that were added over HTTP be at loopback and private addresses."
    )
    mcp_allow_private: bool = Field(
        False, description="Let MCP servers that were added over HTTP be at loopback and private addresses."
    )

    def secret_texts(self) -> list[str]:
        """List every secret in the settings, and those in variables that they name: none may reach a log."""
        secrets = [self.secret_key, self.openai_api_key, *(key.key for key in self.api_keys)]
        secrets += [provider.api_key for provider in self.providers]
        environment = read_environment()
        for server in self.mcp_servers:
            secrets += [*server.env.values(), *server.headers.values(), SecretStr(urlsplit(server.url or "").query)]
        variables = [environment.get(provider.api_key_env or "") for provider in self.providers]
        return [*(secret.get_secret_value() for secret in secrets if secret is not None), *filter(None, variables)]

    def unknown_variables(self) -> list[UnknownVariable]:
        """List the variables that look like settings and are none."""
        settings = {f"{PREFIX}CONFIG", *(_variable(name) for name in type(self).model_fields)}
        settings.update(provider.api_key_env.upper() for provider in self.providers if provider.api_key_env)
        return list(unknown_variables(read_environment(), settings))

    @model_validator(mode="before")
    @classmethod
    def _cut_texts(cls, values: Any) -> Any:
        return _cut_all(values)

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_api_keys(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        return [_name_and_key(entry) for entry in value.split(",") if cut(entry)]

    @field_validator("api_keys")
    @classmethod
    def _check_api_keys(cls, keys: list[ApiKeySettings], info: ValidationInfo) -> list[ApiKeySettings]:
        for key in keys:
            if len(key.key.get_secret_value()) < MIN_KEY_CHARS and not info.data.get("allow_short_keys"):
                raise ValueError(
                    f"the key named {key.name} has fewer than {MIN_KEY_CHARS} characters, and could be guessed: take a "
                    "random one, or set PALAVER_ALLOW_SHORT_KEYS=true"
                )
        return keys

    @field_validator("mcp_servers")
    @classmethod
    def _check_names(cls, servers: list[McpServerSettings]) -> list[McpServerSettings]:
        if len({server.name for server in servers}) < len(servers):
            raise ValueError("two servers have the same name")
        return servers

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _parse_cors_origins(cls, value: Any) -> Any:
        return [cut(origin) for origin in value.split(",") if cut(origin)] if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        # Empty variables count as unset, except the one whose emptiness has a meaning.
        stateless = read_environment().get(f"{PREFIX}OPENAI_DEFAULT_SESSION") == ""
        empty = InitSettingsSource(settings_cls, {"openai_default_session": ""} if stateless else {})
        file = InitSettingsSource(settings_cls, _read_file(settings_file(init_settings().get("data_dir"))))
        return init_settings, Environment(settings_cls), empty, file


class Environment(EnvSettingsSource):
    """The environment variables, without what tools leave around them."""

    def __init__(self, settings_cls: type[BaseSettings]) -> None:
        super().__init__(settings_cls)
        self.env_vars = {name.lower(): value for name, value in read_environment().items() if value}


class WrongSettings(OperatorError):
    """Settings that cannot be used."""


def load_settings(**overrides: Any) -> Settings:
    """Load the settings; `overrides` are those of the command line, None for an option without a value.

    Raises WrongSettings.
    """
    file = settings_file(overrides.get("data_dir"))
    if read_environment().get(f"{PREFIX}CONFIG") and not file.is_file():
        raise WrongSettings(f"PALAVER_CONFIG names {file}, which is not a file")
    options = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**options)
    except ValidationError as error:
        names = {_variable(name) for name in options} | {
            name.upper() for name, value in read_environment().items() if value
        }
        raise WrongSettings("; ".join(_one_line(problem, file, names) for problem in error.errors())) from None
    except (SettingsError, ValueError, OSError) as error:
        raise WrongSettings(_reason(error)) from None


def settings_file(data_dir: str | Path | None) -> Path:
    environment = read_environment()
    folder = data_dir or environment.get(f"{PREFIX}DATA_DIR") or "data"
    return Path(environment.get(f"{PREFIX}CONFIG") or Path(folder) / "palaver.toml")


def _read_file(file: Path) -> dict[str, Any]:
    """Read the file, if there is one. Raises WrongSettings."""
    try:
        return tomllib.loads(decode_utf8(file.read_bytes()))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise WrongSettings(f"{file} cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise WrongSettings(f"{file} is not TOML: {error}") from None


def _cut_all(value: Any) -> Any:
    """Cut the texts in a value, however deep they are; names of fields and of headers as well."""
    if isinstance(value, str):
        return cut(value)
    if isinstance(value, list):
        return [_cut_all(each) for each in value]
    if isinstance(value, dict):
        return {_cut_all(name): _cut_all(each) for name, each in value.items()}
    return value


def _name_and_key(entry: str) -> dict[str, str]:
    name, _, key = (cut(part) for part in cut(entry).partition("="))
    # A key without a name may be base64, and end in `=`.
    return {"name": name, "key": key} if name and key.strip("=") else {"key": cut(entry)}


def _variable(name: str) -> str:
    """The variable of a setting; the two that other programs know as well have no prefix."""
    field = Settings.model_fields.get(name)
    alias = field.validation_alias if field is not None else None
    return alias if isinstance(alias, str) else f"{PREFIX}{name.upper()}"


def _one_line(problem: Any, file: Path, elsewhere: Collection[str]) -> str:
    """Say what is wrong and where; `elsewhere` are the variables of settings that do not come from the file.

    The value is not repeated: it may be a secret.
    """
    place = ".".join(str(part) for part in problem["loc"])
    variable = _variable(str(problem["loc"][0]))
    is_elsewhere = variable in elsewhere or place.upper() in elsewhere
    if problem["type"] == "extra_forbidden":
        nearest = nearest_name(str(problem["loc"][-1]), _names_beside(problem["loc"]))
        source = variable if is_elsewhere else file
        return f"{source}: {place} is not a setting" + (f"; did you mean {nearest}?" if nearest else "")
    name = place if place.isupper() or "." in place else variable
    source = "" if is_elsewhere else f" in {file}"
    return f"{name}{source}: {problem['msg'].removeprefix('Value error, ')}"


def _names_beside(place: Sequence[object]) -> list[str]:
    """The names of the settings beside an unknown one."""
    tables: dict[object, type[BaseModel]] = {
        "providers": ProviderSettings,
        "api_keys": ApiKeySettings,
        "mcp_servers": McpServerSettings,
    }
    return list((tables.get(place[0], Settings) if len(place) > 1 else Settings).model_fields)


def _reason(error: Exception) -> str:
    """The error as one line: a value that is not JSON is not repeated, it may hold a secret."""
    if isinstance(error, SettingsError) and (match := re.search(r'field "(\w+)"', str(error))):
        return f"{_variable(match[1])}: it is not JSON ({error.__cause__})"
    return str(error)
