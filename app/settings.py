"""Every setting, in one frozen object: read once, by the composition root and the command line.

Sources, the first that has a value wins: the command line, the environment (`PALAVER_` and the field's name in
capitals), the TOML file that `PALAVER_CONFIG` names (`<data_dir>/palaver.toml` if it does not), the default. Each
field's description becomes its row in docs/settings.md.
"""

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)
from pydantic_settings.exceptions import SettingsError

from app.errors import OperatorError

DEFAULT_SCOPES = ("chat", "config", "file", "im", "knowledge")


class ProviderSettings(BaseModel):
    """One `[[providers]]` table: a model server with OpenAI's API."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str = Field(min_length=1, max_length=64, description="Its name in `selected_provider` and in profiles.")
    base_url: str = Field(pattern=r"^https?://", description="For example `http://127.0.0.1:11434/v1`.")
    api_key: SecretStr | None = Field(None, description="The key itself.")
    api_key_env: str | None = Field(None, description="Or the environment variable that holds the key.")
    default_model: str = Field("gpt-4.1-mini", min_length=1, description="The model when a request names none.")
    models: list[str] = Field([], description="The models a request may name; empty admits any.")
    timeout_seconds: float = Field(120.0, gt=0, description="Silence after which a reply counts as lost.")
    connect_timeout_seconds: float = Field(10.0, gt=0, description="Time to reach the server.")
    max_retries: int = Field(2, ge=0, le=10, description="Further tries before the first token.")
    extra_headers: dict[str, str] = Field({}, description="Sent with every request.")


class ApiKeySettings(BaseModel):
    """One key given by the operator: `[[api_keys]]` in the TOML, or `name=key` in `PALAVER_API_KEYS`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    key: SecretStr = Field(min_length=8, description="The key's text, of any form.")
    name: str = Field("operator", min_length=1, max_length=100, description="What the key is for.")
    scopes: list[str] = Field(list(DEFAULT_SCOPES), description="What the key may do.")
    username: str | None = Field(None, description="The one user that the key may act as; unset means any.")


class Settings(BaseSettings):
    """The settings of a server: its address, its storage, its keys and its limits."""

    model_config = SettingsConfigDict(env_prefix="PALAVER_", frozen=True, extra="forbid", env_ignore_empty=True)

    data_dir: Path = Field(Path("data"), description="The folder for the database, attachments, profiles and secrets.")
    host: str = Field("127.0.0.1", description="The address to listen on.")
    port: int = Field(6185, ge=0, le=65535, description="The port to listen on; 0 picks a free one.")
    server: Literal["hypercorn", "uvicorn"] = Field(
        "hypercorn", description="The ASGI server; `uvicorn` is faster, and comes with `palaver[uvicorn]`."
    )
    database_url: str | None = Field(
        None,
        description="A SQLAlchemy async URL; unset means SQLite in `<data_dir>/palaver.db`. "
        "`postgresql+asyncpg://...` needs the extra `palaver[postgres]`.",
    )
    storage_url: str | None = Field(
        None, description="Where attachments are kept (`s3://bucket/prefix`); unset means `<data_dir>/attachments`."
    )
    secret_key: SecretStr | None = Field(
        None,
        description="The master key, 64 hexadecimal digits; unset means `<data_dir>/secret.key`, made on first use.",
    )

    no_auth: bool = Field(False, description="Serve everyone without a key; refused unless `host` is loopback.")
    api_keys: Annotated[list[ApiKeySettings], NoDecode] = Field(
        [], description="Keys given by the operator: `name=key,name=key`, with all scopes but `admin`."
    )
    allow_query_keys: bool = Field(False, description="Also take keys from `?api_key=` and `?key=`.")
    metrics_public: bool = Field(
        True, description="Serve `/metrics` without a key; if false, the scope `admin` is needed."
    )
    cors_origins: Annotated[list[str], NoDecode] = Field(
        [], description="Origins whose pages may call the API, separated by commas; `*` admits all."
    )

    openai_api_key: SecretStr | None = Field(
        None, validation_alias="OPENAI_API_KEY", description="The key of the provider `openai_chat_completion`."
    )
    openai_base_url: str | None = Field(
        None, validation_alias="OPENAI_BASE_URL", description="The address of that provider, if it is not OpenAI's."
    )
    openai_model: str = Field("gpt-4.1-mini", description="The default model of that provider.")
    providers: list[ProviderSettings] = Field([], description="More model servers: `[[providers]]` tables in the TOML.")
    default_provider: str | None = Field(None, description="The provider to use by default; unset means the first.")

    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The lowest level that is logged."
    )
    log_format: Literal["console", "json"] = Field("console", description="The form of log lines.")

    max_body_bytes: int = Field(4 * 1024**2, ge=1024, description="The largest JSON body.")
    max_upload_bytes: int = Field(100 * 1024**2, ge=1, description="The largest uploaded file.")
    max_message_chars: int = Field(200_000, ge=1, description="The longest message, all its text together.")
    max_parts: int = Field(50, ge=1, description="The most parts in a message.")
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
    max_waiting_per_session: int = Field(16, ge=0, description="The most messages that wait in one session.")
    max_waiting: int = Field(2_000, ge=0, description="The most messages that wait in all sessions.")
    max_runs_per_key: int = Field(
        1_000, ge=1, description="The most replies at once, waiting ones included, for a key."
    )
    max_runs: int = Field(4_000, ge=1, description="The same for all keys together.")
    max_streams_per_key: int = Field(2_000, ge=1, description="The most open streams for a key.")
    max_streams: int = Field(8_000, ge=1, description="The same for all keys together.")
    openai_default_session: str | None = Field(
        None,
        max_length=200,
        description="The session of requests to `/v1` that name none, with every key; empty makes them stateless. "
        "Unset, it is `api:default` for keys that are bound to a user and with `no_auth`, and none for other keys.",
    )
    require_session_key: bool = Field(False, description="Refuse requests to `/v1` without the header x-session-key.")
    openai_max_body_bytes: int = Field(
        64 * 1024**2, ge=1024, description="The largest request to `/v1`, its files included."
    )
    drain_seconds: float = Field(20.0, ge=0, description="How long open replies may go on after SIGTERM.")
    webhook_allow_private: bool = Field(False, description="Let webhook bots call loopback and private addresses.")

    def secret_texts(self) -> list[str]:
        """List every secret in the settings, and those in variables that they name: none may reach a log."""
        secrets = [self.secret_key, self.openai_api_key, *(key.key for key in self.api_keys)]
        secrets += [provider.api_key for provider in self.providers]
        variables = [os.environ.get(provider.api_key_env or "") for provider in self.providers]
        return [*(secret.get_secret_value() for secret in secrets if secret is not None), *filter(None, variables)]

    @field_validator("api_keys", mode="before")
    @classmethod
    def _parse_api_keys(cls, value: Any) -> Any:
        if not isinstance(value, str):
            return value
        entries = [entry.strip() for entry in value.split(",") if entry.strip()]
        return [_name_and_key(entry) for entry in entries]

    @field_validator("cors_origins", mode="before")
    @classmethod
    def _parse_cors_origins(cls, value: Any) -> Any:
        return [origin.strip() for origin in value.split(",") if origin.strip()] if isinstance(value, str) else value

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        file = _settings_file(init_settings().get("data_dir"))
        # Empty variables count as unset, except the one whose emptiness has a meaning.
        stateless = os.environ.get("PALAVER_OPENAI_DEFAULT_SESSION") == ""
        empty = InitSettingsSource(settings_cls, {"openai_default_session": ""} if stateless else {})
        return init_settings, env_settings, empty, TomlConfigSettingsSource(settings_cls, toml_file=file)


class WrongSettings(OperatorError):
    """Settings that cannot be used."""


def load_settings(**overrides: Any) -> Settings:
    """Load the settings; `overrides` are those of the command line, None for an option without a value.

    Raises WrongSettings.
    """
    file = _settings_file(overrides.get("data_dir"))
    if os.environ.get("PALAVER_CONFIG") and not file.is_file():
        raise WrongSettings(f"PALAVER_CONFIG names {file}, which is not a file")
    try:
        return Settings(**{name: value for name, value in overrides.items() if value is not None})
    except ValidationError as error:
        raise WrongSettings("; ".join(_one_line(problem) for problem in error.errors())) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise WrongSettings(f"{file} is not TOML: {error}") from None
    except (SettingsError, ValueError, OSError) as error:
        raise WrongSettings(str(error)) from None


def _settings_file(data_dir: str | Path | None) -> Path:
    folder = data_dir or os.environ.get("PALAVER_DATA_DIR") or "data"
    return Path(os.environ.get("PALAVER_CONFIG") or Path(folder) / "palaver.toml")


def _name_and_key(entry: str) -> dict[str, str]:
    name, _, key = (part.strip() for part in entry.partition("="))
    # A key without a name may be base64, and end in `=`.
    return {"name": name, "key": key} if name and key.strip("=") else {"key": entry}


def _one_line(problem: Any) -> str:
    # The value is not repeated: it may be a secret.
    field = ".".join(str(part) for part in problem["loc"])
    name = field if field.isupper() or "." in field else f"PALAVER_{field.upper()}"
    return f"{name}: {problem['msg']}"
