"""Settings: where they come from, which source goes first, and what is said of wrong ones."""

import codecs
import json
from pathlib import Path

import pytest

from app.environment import UnknownVariable
from app.options import provider_specs
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
        key = "fixed-key-of-alice-herself"
        name = "alice"
        scopes = ["chat"]
        username = "alice"
        """,
    )
    settings = load_settings()
    (provider,), (key,) = settings.providers, settings.api_keys
    assert (provider.id, provider.models, provider.max_retries) == ("local", ["qwen3"], 2)
    assert provider.extra_headers == {"X-Team": "blue"}
    assert (key.key.get_secret_value(), key.scopes, key.username) == ("fixed-key-of-alice-herself", ["chat"], "alice")


def test_keys_and_origins_are_lists_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = ("lang-agent-key-of-old-times", "second-fixed-key-of-old-times", "c2Vjb25kLWtleS1vZi0=")
    monkeypatch.setenv("PALAVER_API_KEYS", f"agent = {keys[0]}, {keys[1]}, {keys[2]},")
    monkeypatch.setenv("PALAVER_CORS_ORIGINS", "https://a.example, https://b.example")
    settings = load_settings()
    values = [(key.name, key.key.get_secret_value()) for key in settings.api_keys]
    assert values == [("agent", keys[0]), ("operator", keys[1]), ("operator", keys[2])]
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
        ("prot = 6185", "data/palaver.toml: prot is not a setting; did you mean port?"),
        ("PALAVER_PORT = 6185", "data/palaver.toml: PALAVER_PORT is not a setting; did you mean port?"),
        ("zzz = 6185", "data/palaver.toml: zzz is not a setting"),
        ("[provider]\nid = 'x'", "data/palaver.toml: provider is not a setting; did you mean providers?"),
        ("[[providers]]\nid = 'x'", "providers.0.base_url"),
        ("[[providers]]\nid = 'x'\nbase_url = 'http://x'\ncolour = 'red'", "providers.0.colour"),
        (
            "[[providers]]\nid = 'x'\nbase_urll = 'http://x'\nbase_url = 'http://x'",
            "data/palaver.toml: providers.0.base_urll is not a setting; did you mean base_url?",
        ),
        ("[[api_keys]]\nkye = 'fixed-key'", "data/palaver.toml: api_keys.0.kye is not a setting; did you mean key?"),
        ("no_auth = 'perhaps'", "PALAVER_NO_AUTH in data/palaver.toml"),
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


@pytest.mark.parametrize("end", ["\n", "\r\n"])
@pytest.mark.parametrize("named", [False, True])
def test_a_byte_order_mark_before_the_file_is_skipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: bool, end: str
) -> None:
    file = write_toml(tmp_path / "etc" if named else Path("data"), "")
    file.write_bytes(codecs.BOM_UTF8 + f'port = 1001{end}log_level = "error"{end}'.encode())
    if named:
        monkeypatch.setenv("PALAVER_CONFIG", str(file))
    assert (load_settings().port, load_settings().log_level) == (1001, "error")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32", "gbk", "cp1252"])
def test_a_file_in_another_encoding_is_one_line_that_says_what_to_do(encoding: str) -> None:
    write_toml(Path("data"), "").write_bytes("# é\nport = 1001\n".encode(encoding))
    with pytest.raises(WrongSettings, match=r"^data/palaver\.toml is not TOML: the file .*: save it as UTF-8$"):
        load_settings()


def test_a_file_that_cannot_be_read_is_one_line() -> None:
    Path("data/palaver.toml").mkdir(parents=True)
    with pytest.raises(WrongSettings, match=r"^data/palaver\.toml cannot be read: Is a directory$"):
        load_settings()


AROUND = ["{}\r", " {} ", '"{}"', "'{}'", '"{}"\r\n', "\ufeff{}", "\u00a0{}\u200b", "“{}”", '" {} "']


@pytest.mark.parametrize("around", AROUND)
def test_blanks_quotes_and_line_ends_around_variables_are_cut(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, around: str
) -> None:
    values = {
        "PALAVER_PORT": "1001",
        "PALAVER_LOG_LEVEL": "error",
        "PALAVER_NO_AUTH": "true",
        "PALAVER_DATA_DIR": str(tmp_path / "folder"),
        "PALAVER_API_KEYS": "agent=lang-agent-key-of-old-times,other=second-key-of-old-times",
        "PALAVER_CORS_ORIGINS": "https://a.example,https://b.example",
        "PALAVER_PROVIDERS": '[{"id": "x", "base_url": "http://x/v1", "api_key_env": "X_KEY"}]',
        "OPENAI_API_KEY": "sk-secret",
        "OPENAI_BASE_URL": "http://127.0.0.1:11434/v1",
        "X_KEY": "sk-other",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, around.format(value))
    write_toml(tmp_path / "folder", "max_parts = 7")
    settings = load_settings()
    assert (settings.port, settings.log_level, settings.no_auth, settings.max_parts) == (1001, "error", True, 7)
    assert settings.data_dir == tmp_path / "folder"
    texts = [key.key.get_secret_value() for key in settings.api_keys]
    assert texts == ["lang-agent-key-of-old-times", "second-key-of-old-times"]
    assert settings.cors_origins == ["https://a.example", "https://b.example"]
    specs = [(spec.id, spec.base_url, spec.api_key) for spec in provider_specs(settings)]
    assert specs == [
        ("openai_chat_completion", "http://127.0.0.1:11434/v1", "sk-secret"),
        ("x", "http://x/v1", "sk-other"),
    ]


def test_what_is_around_entries_of_lists_and_texts_of_the_file_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = " agent='lang-agent-key-of-old-times' ,\r\n \"second-fixed-key-of-old-times\",\r"
    monkeypatch.setenv("PALAVER_API_KEYS", keys)
    monkeypatch.setenv("PALAVER_CORS_ORIGINS", '"https://a.example", https://b.example\r,')
    write_toml(
        Path("data"),
        """
        [[providers]]
        id = " local "
        base_url = "http://127.0.0.1:11434/v1\\r"
        api_key = "sk-local \\n"
        models = [" qwen3 "]
        extra_headers = { X-Team = "blue\\r" }
        """,
    )
    settings = load_settings()
    values = [(key.name, key.key.get_secret_value()) for key in settings.api_keys]
    assert values == [("agent", "lang-agent-key-of-old-times"), ("operator", "second-fixed-key-of-old-times")]
    assert settings.cors_origins == ["https://a.example", "https://b.example"]
    (spec,) = provider_specs(settings)
    assert (spec.id, spec.base_url, spec.api_key) == ("local", "http://127.0.0.1:11434/v1", "sk-local")
    assert (spec.models, spec.extra_headers) == (("qwen3",), {"X-Team": "blue"})


@pytest.mark.parametrize("value", ["", " ", "\r", '""', "\ufeff"])
def test_a_variable_with_nothing_in_it_counts_as_not_set(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    for name in ("PALAVER_PORT", "PALAVER_CONFIG", "PALAVER_DATA_DIR", "OPENAI_BASE_URL", "OPENAI_API_KEY"):
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.port, settings.data_dir, settings.openai_base_url) == (6185, Path("data"), None)
    assert settings.openai_api_key is None


def test_a_byte_order_mark_before_the_first_variable_of_a_file_is_skipped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("\ufeffPALAVER_PORT", "1001")
    assert load_settings().port == 1001


@pytest.mark.parametrize("source", ["OPENAI_BASE_URL", "PALAVER_PROVIDERS", "file"])
@pytest.mark.parametrize(
    ("address", "base_url"),
    [
        ("http://x/v1", "http://x/v1"),
        (
            "https://x.example/openai/deployments/d?api-version=1",
            "https://x.example/openai/deployments/d?api-version=1",
        ),
        ("https://x.example/openai/deployments/d/?a=1&b=2", "https://x.example/openai/deployments/d?a=1&b=2"),
        ("https://x.example/d/chat/completions?api-version=1", "https://x.example/d?api-version=1"),
        ("http://x/v1/chat/completions/", "http://x/v1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://x/v1#", "http://x/v1"),
    ],
)
def test_a_model_servers_address_may_have_a_query_and_the_path_of_chats(
    monkeypatch: pytest.MonkeyPatch, source: str, address: str, base_url: str
) -> None:
    set_address(monkeypatch, source, address)
    assert [spec.base_url for spec in provider_specs(load_settings())] == [base_url]


@pytest.mark.parametrize("source", ["OPENAI_BASE_URL", "PALAVER_PROVIDERS", "file"])
@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:11434/v1", "localhost:11434", "ftp://x", "http://", "http:///v1", "http://x:port/v1", "http://x:99999",
        "http://[::1/v1", "http://x y/v1", "http://x/v1\nhttp://y", "http://x/v1#end", "/v1", "http://‘x’",
    ],
)  # fmt: skip
def test_an_address_that_is_none_is_one_line(monkeypatch: pytest.MonkeyPatch, source: str, address: str) -> None:
    set_address(monkeypatch, source, address)
    with pytest.raises(WrongSettings) as caught:
        load_settings()
    assert "base_url" in str(caught.value).lower()
    assert "\n" not in str(caught.value)


def set_address(monkeypatch: pytest.MonkeyPatch, source: str, address: str) -> None:
    provider = {"id": "x", "base_url": address}
    if source == "OPENAI_BASE_URL":
        monkeypatch.setenv(source, address)
    elif source == "PALAVER_PROVIDERS":
        monkeypatch.setenv(source, json.dumps([provider]))
    else:
        write_toml(Path("data"), f"[[providers]]\nid = 'x'\nbase_url = {json.dumps(address)}")


@pytest.mark.parametrize("key", ["sk-…", "sk-\u200bkey", "sk-a\nb", "密钥"])
def test_a_key_that_no_header_can_hold_is_one_line_without_the_key(monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", key)
    with pytest.raises(WrongSettings, match=r"^OPENAI_API_KEY: has characters that no HTTP header can hold$"):
        load_settings()
    monkeypatch.delenv("OPENAI_API_KEY")
    monkeypatch.setenv("X_KEY", key)
    write_toml(Path("data"), "[[providers]]\nid = 'x'\nbase_url = 'http://x'\napi_key_env = 'X_KEY'")
    with pytest.raises(ValueError, match=r"^provider x: X_KEY has characters that no HTTP header can hold$"):
        provider_specs(load_settings())


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("PALAVER_PROT", "PALAVER_PORT"),
        ("palaver_data_dirr", "PALAVER_DATA_DIR"),
        ("PALAVER_OPENAI_API_KEY", "OPENAI_API_KEY"),
        ("PALAVER_APIKEYS", "PALAVER_API_KEYS"),
        ("PALAVER_XYZZY", None),
    ],
)
def test_an_unknown_variable_is_told_with_the_nearest_name(
    monkeypatch: pytest.MonkeyPatch, name: str, nearest: str | None
) -> None:
    monkeypatch.setenv(name, "1")
    assert load_settings().unknown_variables() == [UnknownVariable(name, nearest)]


def test_known_variables_are_not_told(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.setenv(f"PALAVER_{name.upper()}" if not name.startswith("openai_") else name.upper(), "")
    monkeypatch.setenv("palaver_log_level", "info")
    monkeypatch.setenv("PALAVER_KEY_OF_X", "sk-x")
    monkeypatch.setenv("PALAVER_CONFIG", str(write_toml(Path("data"), PROVIDER_WITH_KEY)))
    assert load_settings().unknown_variables() == []


PROVIDER_WITH_KEY = "[[providers]]\nid = 'x'\nbase_url = 'http://x'\napi_key_env = 'PALAVER_KEY_OF_X'"


def test_what_kubernetes_sets_for_a_service_of_that_name_is_no_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT_6185_TCP", "PORT_6185_TCP_ADDR"):
        monkeypatch.setenv(f"PALAVER_{name}", "10.0.0.1")
    monkeypatch.setenv("PALAVER_PORT", "tcp://10.0.0.1:6185")
    settings = load_settings()
    assert settings.port == 6185
    assert settings.unknown_variables() == []


def test_a_named_file_that_is_not_there_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALAVER_CONFIG", "elsewhere.toml")
    with pytest.raises(WrongSettings, match=r"^PALAVER_CONFIG names elsewhere.toml, which is not a file$"):
        load_settings()


def test_a_short_key_is_taken_only_when_the_operator_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PALAVER_API_KEYS", "good=twenty-characters-20,agent=nineteen-chars-1234")
    with pytest.raises(WrongSettings, match=r"^PALAVER_API_KEYS: the key named agent has fewer than 20 char") as caught:
        load_settings()
    assert "nineteen" not in str(caught.value)
    monkeypatch.setenv("PALAVER_ALLOW_SHORT_KEYS", "true")
    assert len(load_settings().api_keys) == 2


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    secrets = {
        "OPENAI_API_KEY": "sk-upstream-secret",
        "PALAVER_SECRET_KEY": "ab" * 32,
        "PALAVER_API_KEYS": "agent=lang-agent-key-of-old-times",
    }
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    settings = load_settings()
    for text in (repr(settings), str(settings), str(settings.model_dump()), settings.model_dump_json()):
        for secret in ("sk-upstream-secret", "ab" * 32, "lang-agent-key-of-old-times"):
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
