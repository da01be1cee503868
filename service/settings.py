"""One frozen settings object, read once at start from the environment, a TOML file and secret files."""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_type_hints

import msgspec

PREFIX = "MANDATE_"
NOT_SETTINGS = ("MANDATE_CONFIG", "MANDATE_KEY", "MANDATE_URL")
"""Where the settings are, and what `mandate keys` asks with: no settings of the service."""
SECRETS = ("dsn", "migration_dsn")
_HOUSE = Path(__file__).resolve().parent


class SettingsError(Exception):
    """A setting is unknown, has the wrong type or is out of range; the message names it and the cure."""


def shipped(folder: str) -> Path:
    """Return a data folder of the house (`migrations`, `policies`), in a checkout or in an installed wheel."""
    inside = _HOUSE / f"_{folder}"
    return inside if inside.is_dir() else _HOUSE.parent / folder


_Dsn = Annotated[str, msgspec.Meta(pattern="^postgres(ql)?://", description="a postgresql:// address")]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Everything an operator may choose. Nothing else in the house reads the environment."""

    dsn: _Dsn | None = None
    """Address of the database for the service's own role; None starts an embedded PostgreSQL under `data`."""
    migration_dsn: _Dsn | None = None
    """Address for the owner of the tables; a direct connection, never through a pooler."""
    data: Path = Path(".data")
    """Folder of everything this process keeps on disk."""
    policies: Path = msgspec.field(default_factory=lambda: shipped("policies"))
    """Folder of the policy edition to serve."""
    host: Annotated[str, msgspec.Meta(min_length=1)] = "127.0.0.1"
    """Address to listen on."""
    port: Annotated[int, msgspec.Meta(ge=0, le=65535)] = 8000
    """Port to listen on; 0 takes a free one."""
    workers: Annotated[int, msgspec.Meta(ge=0, le=64)] = 0
    """Processes that answer requests; 0: one for each core, which stays on it. With 1, the process that keeps time and the log answers too."""
    pool_size: Annotated[int, msgspec.Meta(ge=1, le=200)] = 8
    """Connections of one process to the database, all opened at start."""
    statement_cache: Annotated[int, msgspec.Meta(ge=0, le=10_000)] = 256
    """Prepared statements kept per connection; 0 behind PgBouncer in transaction mode."""
    clock_file: Path | None = None
    """A file holding the instant to take for now. Tests and the demo only: needs the embedded database."""
    sweep_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 1.0
    """Seconds between two looks at what has fallen due; 0 leaves that to another process."""
    set_limit: Annotated[int, msgspec.Meta(ge=1, le=4000)] = 300
    """Most actions in one transaction of the door."""
    body_limit: Annotated[int, msgspec.Meta(ge=1024, le=1 << 30)] = 1 << 20
    """Largest request body, in bytes."""
    rate_limit_per_minute: Annotated[int, msgspec.Meta(ge=1)] = 600_000
    """Requests per minute and key."""
    metrics: bool = True
    """Serve `/metrics`, to this machine and to holders of a key of staff."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Events below this level are not written."""
    platform_id: Annotated[str, msgspec.Meta(pattern="^[A-Za-z0-9._:@-]{1,128}$")] = "mandate.localhost"
    """Id of the platform in records."""
    origin: Annotated[str, msgspec.Meta(pattern=r"^[^\s+]{1,255}$")] = "mandate.localhost/trail/1"
    """Name of this log in its checkpoints; never given to another log."""
    map_bits: Annotated[int, msgspec.Meta(ge=1, le=24)] = 20
    """The map of a new log has 2 to the power of so many buckets, 64 bytes of memory each; an existing log keeps its own."""
    merge_seconds: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 10
    """Receipts of a new log promise that a record is in it within so many seconds; an existing log keeps its own."""
    sequence_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 1.0
    """Seconds between two turns of the sequencer, each of which brings what waits into the log and signs it; 0 leaves that to
    `mandate work sequencer`."""
    witnesses: str = ""
    """Who is asked to cosign checkpoints: one a line, `URL VKEY`; `-` for the URL of one without a network."""
    witness_quorum: Annotated[int, msgspec.Meta(ge=0, le=12)] | None = None
    """How many of them the trust file demands; more than half of those with a URL unless set."""
    webhook_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 1.0
    """Seconds between two looks for effects to post to webhooks; 0 leaves that to `mandate work webhooks`."""
    webhook_private: bool = False
    """Post to loopback and private addresses and over http too: in a closed network, and in tests."""
    jurisdiction: Annotated[str, msgspec.Meta(pattern="^(CN(-[0-9]{6})?|EU(-[A-Z]{2})?)$")] = "CN"
    """Where a subject belongs when nobody says otherwise."""

    @property
    def embedded(self) -> bool:
        """True when the house starts its own PostgreSQL."""
        return self.dsn is None

    def __rich_repr__(self) -> Any:
        """Yield the members for pretty printers, with secrets hidden."""
        for name in self.__struct_fields__:
            value = getattr(self, name)
            yield name, "***" if name in SECRETS and value is not None else value

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in self.__rich_repr__())
        return f"Settings({shown})"

    def to_json(self) -> bytes:
        """These settings, secrets too, for a process of this house that is started by this one."""
        return msgspec.json.encode(self, enc_hook=str)

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """What `to_json` gave. Raises SettingsError."""
        try:
            return msgspec.json.decode(raw, type=cls, dec_hook=_decode)
        except (msgspec.DecodeError, SettingsError):
            raise SettingsError(
                "this command is started by `mandate serve`, which tells it its settings"
            ) from None

    @classmethod
    def read(cls, env: Mapping[str, str] = os.environ, file: Path | None = None) -> Self:
        """Read the settings; the environment wins over the file.

        `file` is the TOML file to read; without it, the one named by MANDATE_CONFIG, if any.
        MANDATE_X_FILE names a file whose content is the value of MANDATE_X; an empty variable counts as not set.
        Raises SettingsError, with one message naming the setting, where it was found, and the cure.
        """
        chosen = file if file is not None else _path(env.get(f"{PREFIX}CONFIG"))
        found = _from_file(chosen) if chosen else {}
        found |= _from_environment(env)
        values: dict[str, Any] = {}
        hints = get_type_hints(cls, include_extras=True)
        for name, (value, place) in found.items():
            values[name] = _convert(name, value, hints[name], place)
        settings = cls(**values)
        if settings.clock_file is not None and not settings.embedded:
            raise SettingsError(
                f"clock_file ({found['clock_file'][1]}) is for tests and the demo and needs the embedded database: "
                "remove it, or remove dsn"
            )
        return settings


_Found = dict[str, tuple[Any, str]]


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _from_file(file: Path) -> _Found:
    try:
        with file.open("rb") as stream:
            values = tomllib.load(stream)
    except OSError as error:
        raise SettingsError(
            f"cannot read the settings file {file}: {error.strerror}; check MANDATE_CONFIG"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{file} is not TOML: {error}") from None
    for name in values:
        if name not in Settings.__struct_fields__:
            raise SettingsError(f"unknown setting {name} in {file}: {_cure(name)}")
    return {name: (value, f"in {file}") for name, value in values.items()}


def _from_environment(env: Mapping[str, str]) -> _Found:
    found: _Found = {}
    for variable, text in env.items():
        if not variable.startswith(PREFIX) or variable in NOT_SETTINGS:
            continue
        name, place, value = variable.removeprefix(PREFIX).lower(), f"from {variable}", text
        if name not in Settings.__struct_fields__ and name.endswith("_file"):
            name = name.removesuffix("_file")
            place = f"from the file {text} named by {variable}"
            value = _secret(text, variable) if text and name in Settings.__struct_fields__ else text
        if name not in Settings.__struct_fields__:
            raise SettingsError(
                f"unknown variable {variable}: {_cure(variable.removeprefix(PREFIX).lower())}"
            )
        if name in found:
            raise SettingsError(f"{name} is given twice, {found[name][1]} and {place}: keep one")
        if text:
            found[name] = (value, place)
    return found


def _secret(path: str, variable: str) -> str:
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise SettingsError(f"cannot read {path}, named by {variable}: {reason}") from None


def _cure(name: str) -> str:
    from difflib import get_close_matches

    near = get_close_matches(name, Settings.__struct_fields__, n=1)
    return f"did you mean {near[0]}?" if near else f"known are {', '.join(Settings.__struct_fields__)}"


def _convert(name: str, value: Any, kind: Any, place: str) -> Any:
    try:
        return msgspec.convert(value, kind, strict=not place.startswith("from "), dec_hook=_decode)
    except msgspec.ValidationError as error:
        shown = "" if name in SECRETS else f" {value!r}"
        raise SettingsError(
            f"{name}{shown} ({place}) does not fit: {str(error).removesuffix('.')}; "
            f"write for example {_example(name)}"
        ) from None


def _decode(kind: type, value: Any) -> Any:
    if kind is Path and isinstance(value, str) and value:
        return Path(value).expanduser()
    raise msgspec.ValidationError(f"Expected a {'path' if kind is Path else kind.__name__}")


def _example(name: str) -> str:
    examples = {
        "dsn": "postgresql://mandate_service:secret@db.internal:5432/mandate",
        "migration_dsn": "postgresql://mandate_owner:secret@db.internal:5432/mandate",
        "clock_file": ".data/now",
    }
    return examples.get(name) or str(getattr(Settings(), name))
