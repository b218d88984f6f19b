"""Settings: where they come from, and how wrong ones are refused."""

import datetime as dt
from pathlib import Path

import pytest

from mtdd_router.errors import ConfigurationError
from mtdd_router.server.config import ServerConfig, load_config
from mtdd_router.wire.address import Address

DSN = "postgresql://shard:top-secret@localhost/shard"


def load(*arguments: str, **environment: str) -> ServerConfig:
    return load_config(arguments, {"MTDD_SHARD_DSN": DSN, **environment})


def problems(*arguments: str, **environment: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(*arguments, **environment)
    return str(caught.value).splitlines()


def test_a_connection_string_is_all_that_must_be_given() -> None:
    config = load()
    assert (config.address, config.pool_size, config.workers) == ("127.0.0.1:7401", 20, 1)
    assert config.max_message_bytes == 1 << 30


def test_flags_win_over_the_environment_which_wins_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "shard.toml"
    file.write_text("pool_size = 30\nqueue_size = 31\nqueue_timeout = 32\nreflection = false\n")
    config = load(
        f"--config={file}",
        "--pool-size",
        "50",
        MTDD_SHARD_POOL_SIZE="40",
        MTDD_SHARD_QUEUE_SIZE="41",
    )
    assert (config.pool_size, config.queue_size, config.queue_timeout) == (50, 41, 32.0)
    assert not config.reflection


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "shard.toml"
    file.write_text("workers = 3\n")
    assert load(MTDD_SHARD_CONFIG=str(file)).workers == 3


def test_a_boolean_flag_has_its_opposite() -> None:
    assert not load("--no-reflection").reflection
    assert load("--reflection", MTDD_SHARD_REFLECTION="false").reflection


def test_the_settings_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load().workers = 2  # type: ignore[misc]


def test_secrets_are_not_printed() -> None:
    config = load("--data-token", "token-a", "--admin-token", "token-b")
    for secret in ("top-secret", "token-a", "token-b"):
        assert secret not in repr(config)
        assert secret not in str(config)


def test_without_a_connection_string_the_three_ways_to_give_one_are_named() -> None:
    with pytest.raises(ConfigurationError, match=r"dsn: is missing; give --dsn, MTDD_SHARD_DSN"):
        load_config([], {})


def test_an_unknown_flag_is_refused_with_the_likely_one() -> None:
    assert problems("--pool-sise", "secret") == [
        "--pool-sise: no such flag; did you mean --pool-size?"
    ]


def test_a_flag_cannot_be_abbreviated() -> None:
    assert problems("--pool", "3")[0].startswith("--pool: no such flag")


def test_an_unknown_variable_is_refused_with_the_likely_one() -> None:
    assert problems(MTDD_SHARD_POOLSIZE="3") == [
        "MTDD_SHARD_POOLSIZE: no such variable; did you mean MTDD_SHARD_POOL_SIZE?"
    ]


def test_the_clients_token_may_stand_in_the_same_environment() -> None:
    assert load(MTDD_SHARD_TOKEN="the client's").data_token is None


def test_an_unknown_key_of_the_file_is_refused_with_the_likely_one(tmp_path: Path) -> None:
    file = tmp_path / "shard.toml"
    file.write_text("pool_sizes = 3\n[tls]\nkey = 'x'\n")
    found = problems("--config", str(file))
    assert found[0] == f"pool_sizes: no such setting in {file}; did you mean pool_size?"
    assert found[1].startswith("tls: no such setting")


@pytest.mark.parametrize("text", ["pool_size = ", "\x00", "pool_size = 1\npool_size = 2"])
def test_a_file_that_is_not_toml_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "shard.toml"
    file.write_text(text)
    assert f"config: {file} is not TOML" in problems("--config", str(file))[0]


def test_a_missing_file_is_refused_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "absent.toml"
    assert problems("--config", str(file)) == [
        f"config: cannot read {file}: No such file or directory"
    ]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--address", "nonsense"], "address: 'nonsense' is neither host:port nor unix:/path"),
        (["--address", "::1:7401"], "address: '::1:7401': write an IPv6 address in brackets"),
        (["--address", "localhost:99999"], "the port must be a number from 0 to 65535"),
        (["--address", "localhost:"], "the port must be a number"),
        (["--address", "unix:relative"], "must name an absolute path"),
        (["--address", "unix:/" + "x" * 120], "longer than 103 bytes"),
        (["--dsn", "no string"], "dsn: not a PostgreSQL connection string"),
        (["--dsn", "service=other"], "dsn: the connection parameter 'service' is not supported"),
        (["--pool-size", "abc"], "pool_size: input should be a valid integer"),
        (["--pool-size", "2"], "pool_size: 2 is too few for 1 worker(s)"),
        (["--pool-size", "7", "--workers", "2"], "give 8 or more"),
        (["--workers", "0"], "workers: input should be greater than or equal to 1"),
        (["--workers", "2", "--address", "unix:/tmp/s"], "workers: 2 workers cannot share a unix"),
        (["--queue-timeout", "0"], "queue_timeout: input should be greater than 0"),
        (["--drain-timeout", "nan"], "drain_timeout: "),
        (["--statement-timeout", "-1"], "statement_timeout: "),
        (["--max-message-bytes", "10"], "max_message_bytes: "),
        (["--log-level", "loud"], "log_level: input should be 'debug', 'info'"),
        (["--log-format", "xml"], "log_format: "),
        (["--extension-schema", 'a"b'], "extension_schema: "),
        (["--tls-key", "/absent"], "tls_key: cannot read /absent"),
        (["--data-token", ""], "data_token: must be printable ASCII"),
        (["--data-token", "same", "--admin-token", "same"], "admin_token: must differ"),
        (["--pool-size"], "--pool-size: expected one argument"),
        (["stray"], "an argument stands alone"),
    ],
)
def test_a_wrong_value_is_refused_by_the_settings_name(arguments: list[str], expected: str) -> None:
    found = problems(*arguments)
    assert len(found) == 1
    assert expected in found[0]


def test_all_problems_are_told_at_once() -> None:
    found = problems("--pool-size", "x", "--workers", "y", "--what", MTDD_SHARD_WHAT="z")
    assert [line.split(":")[0] for line in found] == [
        "--what",
        "MTDD_SHARD_WHAT",
        "pool_size",
        "workers",
    ]


def test_no_problem_shows_a_value_that_may_be_a_secret() -> None:
    found = "\n".join(
        [
            *problems("--dsn", "host=h password=top-secret nonsense"),
            *problems("--admin-token", "top secret"),
            *problems("--tokn", "top-secret"),
        ]
    )
    assert "top" not in found


def test_an_address_that_others_can_reach_needs_tls_and_tokens() -> None:
    found = problems("--address", "0.0.0.0:7401")
    assert "needs tls_certificate and tls_key" in found[0]
    assert "set callers, or data_token and admin_token, or tls_client_ca" in found[1]


@pytest.mark.parametrize(
    "host",
    [
        "0.0.0.0",  # noqa: S104
        "0",
        "0.0",
        "00.0.0.0",
        "127.1",
        "2130706433",
        "0x7f.0.0.1",
        "[::]",
        "[::0]",
        "[0:0:0:0:0:0:0:0]",
        "[::ffff:0.0.0.0]",
        "[::ffff:10.0.0.1]",
        "[fe80::1%eth0]",
        "10.0.0.1",
        "169.254.1.1",
        "*",
        "LOCALHOST.",
        "localhost.localdomain",
        "localhost.example.com",
        "127.0.0.1.example.com",
    ],
)
def test_whatever_is_not_surely_this_machine_needs_tls(host: str) -> None:
    assert "needs tls_certificate and tls_key" in problems("--address", f"{host}:7401")[0]


@pytest.mark.parametrize("address", [":7401", "7401", "::1:7401", "tcp://127.0.0.1:7401"])
def test_an_address_without_a_host_is_none(address: str) -> None:
    assert "address: " in problems("--address", address)[0]


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:7401", "127.9.9.9:1", "[::1]:7401", "localhost:7401", "unix:/run/shard.sock"],
)
def test_this_machine_alone_needs_nothing(address: str) -> None:
    config = load("--address", address)
    config.check_bound([config.listen_address])


@pytest.mark.parametrize("found", ["10.0.0.5", "::", "fe80::1", "::ffff:10.0.0.5"])
def test_a_localhost_that_leads_elsewhere_is_refused(found: str) -> None:
    config = load("--address", "localhost:7401")
    with pytest.raises(ConfigurationError, match=r"address: localhost:7401 is .* other machines"):
        config.check_bound([Address("127.0.0.1", 7401), Address(found, 7401)])


def test_a_host_name_counts_as_reachable_by_others() -> None:
    assert "can be reached from other machines" in problems("--address", "shard.example:1")[0]


@pytest.mark.parametrize("address", ["127.0.0.1:1", "127.8.8.8:1", "[::1]:1", "localhost:1"])
def test_a_loopback_address_needs_neither(address: str) -> None:
    assert load("--address", address).address == address


def test_a_certificate_without_a_key_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("")
    assert problems("--tls-certificate", str(file)) == [
        "tls_key: tls_certificate and tls_key belong together"
    ]


def test_files_that_hold_no_certificate_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "cert.pem"
    file.write_text("no certificate")
    found = problems(
        *("--tls-certificate", str(file), "--tls-key", str(file), "--tls-client-ca", str(file))
    )
    assert [line.split(":")[0] for line in found] == ["tls_certificate", "tls_client_ca"]


@pytest.mark.parametrize(("pool", "workers"), [(20, 1), (20, 3), (9, 2), (8, 2)])
def test_the_workers_shares_and_their_own_connections_add_up_to_the_pool(
    pool: int, workers: int
) -> None:
    config = load("--pool-size", str(pool), "--workers", str(workers))
    shares = [config.data_connections(worker) for worker in range(workers)]
    assert sum(shares) + 3 * workers == pool
    assert min(shares) >= 1
    assert max(shares) - min(shares) <= 1


def test_help_names_every_setting(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        load("--help")
    assert caught.value.code == 0
    text = capsys.readouterr().out
    for name in ServerConfig.model_fields:
        assert "--" + name.replace("_", "-") in text


def test_a_date_in_the_file_is_not_a_number(tmp_path: Path) -> None:
    file = tmp_path / "shard.toml"
    file.write_text(f"pool_size = {dt.date(2026, 1, 1)}\n")
    assert problems("--config", str(file))[0].startswith("pool_size: ")
