"""What is known of a machine: frozen, vendor-neutral, and the same in memory as in JSON.

A field that is absent in JSON is `UNKNOWN` here: nobody looked, or nobody could tell. `None` (or an empty tuple) means
"looked for, and not there". `UNKNOWN` is falsy, so `if gpu.compute_capability:` reads as it should; compare with
`is UNKNOWN` where the difference between the two matters. Sizes are bytes, times seconds, versions strings.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import cache
from typing import Any, Final, Literal, TypeVar, Union, cast


class Unknown(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "UNKNOWN"


UNKNOWN: Final = Unknown.UNKNOWN
T = TypeVar("T")
Text = str | None | Unknown
Flag = bool | None | Unknown
Size = int | None | Unknown
Names = tuple[str, ...] | Unknown
Named = Mapping[str, str] | Unknown


@dataclass(frozen=True)
class System:
    """The operating system, as the target's process sees it."""

    os: Literal["windows", "linux", "macos"] | Unknown = UNKNOWN
    version: Text = UNKNOWN
    name: Text = UNKNOWN
    machine: Text = UNKNOWN
    libc: Text = UNKNOWN
    wsl: Flag = UNKNOWN
    container: Text = UNKNOWN
    rosetta: Flag = UNKNOWN
    long_paths: Flag = UNKNOWN
    vc_redist: Text = UNKNOWN
    kernel: Text = UNKNOWN


@dataclass(frozen=True)
class Python:
    """The target interpreter and the environment that it belongs to.

    `system_site` says that a venv was made with --system-site-packages; `ssl` that there is an ssl module; `leftovers`
    are folders of failed installations (`~orch`); `copies` names the places of what of the torch family stands more
    than once on sys.path, the first of which wins; `damaged` names the files of the torch family that are missing or
    have another size than RECORD says. Lists in them have commas.
    """

    version: Text = UNKNOWN
    implementation: Text = UNKNOWN
    bits: Size = UNKNOWN
    free_threaded: Flag = UNKNOWN
    executable: Text = UNKNOWN
    environment: Text = UNKNOWN
    externally_managed: Flag = UNKNOWN
    pip: Text = UNKNOWN
    in_path_order: Names = UNKNOWN
    prefix: Text = UNKNOWN
    site_packages: Text = UNKNOWN
    writable: Flag = UNKNOWN
    platform_tags: Names = UNKNOWN
    build: Text = UNKNOWN
    system_site: Flag = UNKNOWN
    ssl: Flag = UNKNOWN
    leftovers: Names = UNKNOWN
    copies: Named = UNKNOWN
    damaged: Named = UNKNOWN


@dataclass(frozen=True)
class Cpu:
    """The processor."""

    model: Text = UNKNOWN
    vendor: Text = UNKNOWN
    cores_physical: Size = UNKNOWN
    cores_logical: Size = UNKNOWN
    features: Names = UNKNOWN
    sockets: Size = UNKNOWN
    numa_nodes: Size = UNKNOWN
    stepping: Text = UNKNOWN
    mhz: Text = UNKNOWN
    cache: Text = UNKNOWN


@dataclass(frozen=True)
class Memory:
    """Main memory in bytes."""

    total: Size = UNKNOWN
    available: Size = UNKNOWN
    swap: Size = UNKNOWN
    shm: Size = UNKNOWN


@dataclass(frozen=True)
class Disk:
    """Free space in bytes where pip writes: the target, the temporary folder, the cache."""

    target_free: Size = UNKNOWN
    temp_free: Size = UNKNOWN
    cache_free: Size = UNKNOWN


@dataclass(frozen=True)
class Gpu:
    """One graphics or compute device, whether or not a driver serves it.

    `driver` is the kernel module or Windows service that holds it ("nvidia", "nouveau", "vfio-pci"), None when none.
    """

    vendor: str | Unknown = UNKNOWN
    name: Text = UNKNOWN
    pci_id: Text = UNKNOWN
    memory: Size = UNKNOWN
    compute_capability: Text = UNKNOWN
    gfx: Text = UNKNOWN
    in_use_by: Names = UNKNOWN
    driver: Text = UNKNOWN


@dataclass(frozen=True)
class NvidiaDriver:
    """NVIDIA's driver; `cuda` is the newest CUDA that it speaks of, no upper bound for wheels of the same major."""

    version: Text = UNKNOWN
    cuda: Text = UNKNOWN
    error: Text = UNKNOWN


@dataclass(frozen=True)
class AmdDriver:
    """AMD's driver; `kfd` says that /dev/kfd exists, `permitted` that this user may open it."""

    version: Text = UNKNOWN
    rocm: Text = UNKNOWN
    kfd: Flag = UNKNOWN
    permitted: Flag = UNKNOWN


@dataclass(frozen=True)
class IntelDriver:
    """Intel's compute driver."""

    version: Text = UNKNOWN
    level_zero: Text = UNKNOWN


@dataclass(frozen=True)
class Drivers:
    """The drivers by vendor; `None` says that there is none."""

    nvidia: NvidiaDriver | Unknown | None = UNKNOWN
    amd: AmdDriver | Unknown | None = UNKNOWN
    intel: IntelDriver | Unknown | None = UNKNOWN


@dataclass(frozen=True)
class Torch:
    """What became of `import torch` in the target, and what that torch says of itself.

    `available` says that it can use an accelerator; `libraries` are the files of CUDA, ROCm, OpenMP and the C++ runtime
    that the process had loaded after the import (Linux); `devices_error` says how the process ended that looked for
    devices, when it died of that.
    """

    import_: Literal["ok", "missing", "error", "crash", "timeout"] | Unknown = field(
        default=UNKNOWN, metadata={"json": "import"}
    )
    error: Text = UNKNOWN
    version: Text = UNKNOWN
    cuda: Text = UNKNOWN
    hip: Text = UNKNOWN
    xpu: Text = UNKNOWN
    cudnn: Text = UNKNOWN
    arch_list: Names = UNKNOWN
    devices: Names = UNKNOWN
    file: Text = UNKNOWN
    available: Flag = UNKNOWN
    git_version: Text = UNKNOWN
    debug: Flag = UNKNOWN
    miopen: Text = UNKNOWN
    xnnpack: Flag = UNKNOWN
    libraries: Names = UNKNOWN
    devices_error: Text = UNKNOWN


@dataclass(frozen=True)
class Pip:
    """Where pip looks, with credentials removed."""

    index_url: Text = UNKNOWN
    extra_index_urls: Names = UNKNOWN
    find_links: Names = UNKNOWN
    config_files: Names = UNKNOWN
    constraints: Names = UNKNOWN


@dataclass(frozen=True)
class Facts:
    """All that is known of one machine and one target interpreter.

    `packages` maps name to version; `conda` maps what conda installed to "version build channel"; `tools` maps
    compilers and their like to their version.
    """

    system: System = field(default_factory=System)
    python: Python = field(default_factory=Python)
    cpu: Cpu = field(default_factory=Cpu)
    memory: Memory = field(default_factory=Memory)
    disk: Disk = field(default_factory=Disk)
    gpus: tuple[Gpu, ...] | Unknown = UNKNOWN
    drivers: Drivers = field(default_factory=Drivers)
    packages: Mapping[str, str] | Unknown = UNKNOWN
    torch: Torch = field(default_factory=Torch)
    env: Mapping[str, str] | Unknown = UNKNOWN
    pip: Pip = field(default_factory=Pip)
    conda: Mapping[str, str] | Unknown = UNKNOWN
    tools: Mapping[str, str] | Unknown = UNKNOWN
    notes: Names = UNKNOWN


class FactsError(ValueError):
    """A JSON document does not have the shape of facts; the message names the field."""


def to_json(value: Any) -> Any:
    """Give facts (or any part of them) as JSON-able data, leaving out what is unknown."""
    if dataclasses.is_dataclass(value):
        named = ((_json_name(f), getattr(value, f.name)) for f in dataclasses.fields(value))
        members = {name: to_json(member) for name, member in named if member is not UNKNOWN}
        return {
            name: member
            for name, member in members.items()
            if member != {} or name in {"packages", "env", "conda", "tools"}
        }
    if isinstance(value, Mapping):
        return {str(key): to_json(member) for key, member in value.items()}
    if isinstance(value, tuple | list):
        return [to_json(member) for member in value]
    return value


def from_json(document: object) -> Facts:
    """Read facts from JSON-able data.

    Accepts a bare `facts` object, a report's `data`, or a whole `--json` document that holds facts. Members that are
    not facts are passed over, so that a newer torchcheck's report can be read.

    Raises:
        FactsError: a member has the wrong type; the message names it by its path.
    """
    return _decode(Facts, _facts_object(document), "facts")


def _facts_object(document: object) -> object:
    for key in ("data", "facts"):
        if isinstance(document, Mapping) and isinstance(document.get(key), Mapping):
            document = document[key]
    return document


def _json_name(member: dataclasses.Field[Any]) -> str:
    return str(member.metadata.get("json", member.name))


@cache
def _members(kind: type) -> dict[str, tuple[str, Any]]:
    hints = typing.get_type_hints(kind)
    return {_json_name(f): (f.name, hints[f.name]) for f in dataclasses.fields(kind)}


def _decode(kind: type[T], value: object, path: str) -> T:
    if not isinstance(value, Mapping):
        raise FactsError(f"{path} should be an object, it is {_kind_of(value)}")
    members = _members(kind)  # type: ignore[arg-type]  # a class is hashable; the stub of cache does not see it
    known = {members[name] + (name,): member for name, member in value.items() if name in members}
    return kind(**{attr: _value(hint, member, f"{path}.{name}") for (attr, hint, name), member in known.items()})


def _value(hint: Any, value: object, path: str) -> Any:
    """Decode one member by its type hint; the hints above use only these few forms."""
    if typing.get_origin(hint) in (Union, types.UnionType):
        return _choice([h for h in typing.get_args(hint) if h is not Unknown], value, path)
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise FactsError(f"{path} should be a list, it is {_kind_of(value)}")
        return tuple(_value(typing.get_args(hint)[0], item, f"{path}[{i}]") for i, item in enumerate(value))
    if typing.get_origin(hint) is Mapping:
        if not isinstance(value, Mapping):
            raise FactsError(f"{path} should be an object, it is {_kind_of(value)}")
        return {str(key): _value(str, item, f"{path}.{key}") for key, item in value.items()}
    if typing.get_origin(hint) is Literal:
        if value not in typing.get_args(hint):
            raise FactsError(f"{path} should be one of {', '.join(typing.get_args(hint))}, it is {value!r:.80}")
        return value
    if dataclasses.is_dataclass(hint):
        return _decode(cast("type[Any]", hint), value, path)
    return _scalar(hint, value, path)


def _choice(hints: list[Any], value: object, path: str) -> Any:
    if value is None and type(None) in hints:
        return None
    hints = [h for h in hints if h is not type(None)]
    # Where a list is due and nothing was found, reports say null as well as [].
    if value is None and typing.get_origin(hints[0]) is tuple:
        return ()
    # A closed set beside `str` documents the usual values without refusing others.
    return _value(str if str in hints else hints[0], value, path)


def _scalar(hint: type, value: object, path: str) -> object:
    if hint is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, hint) and not (hint is int and isinstance(value, bool)):
        return value
    wanted = {str: "text", int: "a whole number", bool: "true or false"}[hint]
    raise FactsError(f"{path} should be {wanted}, it is {_kind_of(value)}")


def _kind_of(value: object) -> str:
    names: dict[type, str] = {dict: "an object", list: "a list", str: "text", type(None): "null", bool: "true or false"}
    return names.get(type(value), "a number")
