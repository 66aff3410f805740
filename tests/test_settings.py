"""Settings: where they come from, which source goes first, and what is said of wrong ones."""

from pathlib import Path

import pytest

from app.settings import Settings, WrongSettings, load_settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write_toml(folder: Path, text: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "palaver.toml"
    file.write_text(text)
    return file


def test_nothing_need_be_set() -> None:
    settings = load_settings()
    assert (settings.data_dir, settings.host, settings.port) == (Path("data"), "127.0.0.1", 6185)
    assert not settings.no_auth
    assert settings.providers == []


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    write_toml(Path("data"), 'port = 1001\nlog_level = "error"')
    assert (load_settings().port, load_settings().log_level) == (1001, "error")
    monkeypatch.setenv("PALAVER_PORT", "1002")
    assert load_settings().port == 1002
    assert load_settings(port=1003).port == 1003
    assert load_settings(port=None).port == 1002
    assert load_settings(port=0).port == 0


def test_an_empty_variable_counts_as_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALAVER_PORT", "")
    assert load_settings().port == 6185


def test_the_file_lies_in_the_data_folder_wherever_that_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toml(tmp_path / "one", "port = 1001")
    write_toml(tmp_path / "two", "port = 1002")
    monkeypatch.setenv("PALAVER_DATA_DIR", str(tmp_path / "one"))
    assert load_settings().port == 1001
    assert load_settings(data_dir=tmp_path / "two").port == 1002


def test_the_file_may_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_toml(Path("data"), "port = 1001")
    monkeypatch.setenv("PALAVER_CONFIG", str(write_toml(tmp_path / "etc", "port = 1002")))
    assert load_settings().port == 1002


def test_a_model_servers_two_variables_have_no_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    monkeypatch.setenv("OPENAI_BASE_URL", "http://127.0.0.1:11434/v1")
    settings = load_settings()
    assert settings.openai_api_key is not None
    assert settings.openai_api_key.get_secret_value() == "sk-secret"
    assert settings.openai_base_url == "http://127.0.0.1:11434/v1"


def test_providers_and_keys_stand_in_the_file() -> None:
    write_toml(
        Path("data"),
        """
        [[providers]]
        id = "local"
        base_url = "http://127.0.0.1:11434/v1"
        models = ["qwen3"]
        extra_headers = { X-Team = "blue" }

        [[api_keys]]
        key = "fixed-key-of-alice"
        name = "alice"
        scopes = ["chat"]
        username = "alice"
        """,
    )
    settings = load_settings()
    (provider,), (key,) = settings.providers, settings.api_keys
    assert (provider.id, provider.models, provider.max_retries) == ("local", ["qwen3"], 2)
    assert provider.extra_headers == {"X-Team": "blue"}
    assert (key.key.get_secret_value(), key.scopes, key.username) == ("fixed-key-of-alice", ["chat"], "alice")


def test_keys_and_origins_are_lists_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALAVER_API_KEYS", "agent = lang-agent-key, second-fixed-key, c2Vjb25k=,")
    monkeypatch.setenv("PALAVER_CORS_ORIGINS", "https://a.example, https://b.example")
    settings = load_settings()
    values = [(key.name, key.key.get_secret_value()) for key in settings.api_keys]
    assert values == [("agent", "lang-agent-key"), ("operator", "second-fixed-key"), ("operator", "c2Vjb25k=")]
    assert settings.cors_origins == ["https://a.example", "https://b.example"]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("PALAVER_PORT", "http"),
        ("PALAVER_PORT", "65536"),
        ("PALAVER_LOG_LEVEL", "loud"),
        ("PALAVER_MAX_BODY_BYTES", "1"),
        ("PALAVER_NO_AUTH", "perhaps"),
        ("PALAVER_API_KEYS", "agent=short"),
        ("PALAVER_PROVIDERS", "not JSON"),
        ("PALAVER_PROVIDERS", '[{"id": "x", "base_url": "ftp://x"}]'),
    ],
)
def test_a_wrong_variable_is_one_line_that_names_it_and_not_its_value(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(WrongSettings) as caught:
        load_settings()
    line = str(caught.value)
    assert variable.removeprefix("PALAVER_").lower() in line.lower()
    assert "\n" not in line
    assert f"'{value}'" not in line


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("port = [", "palaver.toml is not TOML"),
        ("port = 'http'", "PORT"),
        ("prot = 6185", "PROT"),
        ("[[providers]]\nid = 'x'", "providers.0.base_url"),
        ("[[providers]]\nid = 'x'\nbase_url = 'http://x'\ncolour = 'red'", "providers.0.colour"),
        ("[[api_keys]]\nname = 'x'", "api_keys.0.key"),
    ],
)
def test_a_wrong_file_is_one_line_that_names_the_place(text: str, message: str) -> None:
    write_toml(Path("data"), text)
    with pytest.raises(WrongSettings) as caught:
        load_settings()
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_not_text_is_one_line() -> None:
    write_toml(Path("data"), "").write_bytes(b"port = \xff\xfe")
    with pytest.raises(WrongSettings, match=r"palaver\.toml is not TOML"):
        load_settings()


def test_a_named_file_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALAVER_CONFIG", "elsewhere.toml")
    with pytest.raises(WrongSettings, match=r"^PALAVER_CONFIG names elsewhere.toml, which is not a file$"):
        load_settings()


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "OPENAI_API_KEY": "sk-upstream-secret",
        "PALAVER_SECRET_KEY": "ab" * 32,
        "PALAVER_API_KEYS": "agent=lang-agent-key",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        for secret in ("sk-upstream-secret", "ab" * 32, "lang-agent-key"):
            assert secret not in text


def test_a_wrong_secret_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    write_toml(Path("data"), "[[providers]]\nid = 'x'\nbase_url = 'http://x'\napi_key = ['sk-upstream-secret']")
    monkeypatch.setenv("PALAVER_API_KEYS", "agent=sho-rt")
    with pytest.raises(WrongSettings) as caught:
        load_settings()
    assert "sk-upstream-secret" not in str(caught.value)
    assert "sho-rt" not in str(caught.value)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().port = 1


def test_every_setting_says_what_it_is() -> None:
    assert all(field.description for field in Settings.model_fields.values())
