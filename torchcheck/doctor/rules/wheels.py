"""Nothing to install: the wheel that was asked for does not exist for this Python, system, processor or index."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from torchcheck.doctor.evidence import Evidence, Finding, Weight, compiled, numbers
from torchcheck.doctor.registry import rule
from torchcheck.wheels import catalog

WANTED = (
    r"satisfies the requirement (torch(?:vision|audio)?)(?:\[\w+\])?\s*(?:(===?|[<>]=?|"
    r"~=)\s*([\w.+!-]+))?[^\n(]{0,80}(?:\(from [^v\n][^\n)]{0,120}\)+\s*)*\(from versions: ([^\n)]*)\)"
)
NO_INTEL_WHEEL = (
    r"macosx_\d+_\d+_x86_64|for the current platform|Unable to find installation candidates for torch|"
    r"matching platform tag"
)
SUPPORTED = {"x86_64", "amd64", "aarch64", "arm64", "x86", "i686", "i386"}
OLD_PYTHONS = {
    # Python: first and last torch with wheels on PyPI for Linux x86_64 (pypi.org/project/torch).
    "2.7": ("0.1.2", "1.4.0"), "3.5": ("0.1.2", "1.5.1"), "3.6": ("0.1.2", "1.10.2"), "3.7": ("0.4.1", "1.13.1"),
    "3.8": ("1.4.0", "2.4.1"), "3.9": ("1.7.1", "2.8.0"), "3.10": ("1.11.0", "2.14.1"), "3.11": ("1.13.0", ""),
}  # fmt: skip


# Poetry says which version it could not install, and no more.
CANDIDATES = r"Unable to find installation candidates for (torch(?:vision|audio)?) \(([\w.+]+)\)"


@dataclass(frozen=True)
class Wanted:
    """What pip was asked for, and what it found: `versions` is empty for "none"."""

    name: str
    operator: str
    version: str
    versions: tuple[str, ...]
    quote: str

    @property
    def release(self) -> str:
        """The release without its tag."""
        return self.version.partition("+")[0]

    @property
    def tag(self) -> str:
        """The tag that was asked for, or ""."""
        return self.version.partition("+")[2]

    @property
    def releases(self) -> list[tuple[int, ...]]:
        """The releases that were found, without the placeholders 0.1.2 that PyPI shows to everybody."""
        found = [numbers(version) for version in self.versions if not re.match(r"0\.1\.2(?:$|\.post)", version)]
        return sorted(found)


def wanted(e: Evidence) -> list[Wanted]:
    """Read what pip said of torch and its companions."""
    found = []
    for match in compiled(WANTED).finditer(e.log.text):
        versions = tuple(v.strip() for v in match[4].split(",") if v.strip() and v.strip() != "none")
        found.append(Wanted(match[1], match[2] or "", match[3] or "", versions, e.quote(match)))
    return found[:20]


@cache
def pythons(release: str, system: str) -> tuple[str, ...]:
    """Python tags of a torch release on a platform, from the catalog."""
    return catalog.pythons(system, release)


def wheel_exists(e: Evidence, release: str) -> bool | None:
    """Say whether torch has a wheel of a release for this Python and system; None when that cannot be told."""
    if not e.python or len(numbers(release)) < 2:
        return None
    if numbers(release) >= (2,):
        tags = pythons(release, e.machine.system)
        if not tags:
            return (
                None
                if e.machine.system in catalog.systems() and numbers(release) > numbers(catalog.newest())
                else _known_elsewhere(release)
            )
        return e.machine.python in tags
    first, last = OLD_PYTHONS.get(".".join(map(str, e.python)), ("", ""))
    if not first:
        return False if e.python >= (3, 12) else None
    return numbers(first) <= numbers(release) and (not last or numbers(release) <= numbers(last))


def _known_elsewhere(release: str) -> bool | None:
    return False if any(catalog.pythons(system, release) for system in catalog.systems()) else None


NOTHING_FITS = (
    "No matching distribution",
    "Could not find a version that satisfies the requirement torch",
    "not a supported wheel",
    "for the current platform",
    "not available from current channels",
)


@rule
def python_bits(e: Evidence) -> Iterator[Finding]:
    """This Python is a 32-bit program."""
    trouble = bool(wanted(e)) or e.facts.torch.import_ == "missing" or e.says(*NOTHING_FITS)
    if e.facts.python.bits == 32 and (trouble or not e.log.text):
        yield Finding(
            "no-wheel-32bit-python",
            Weight.CONFIRMED if e.log.text else Weight.PROVEN,
            ("This Python is a 32-bit program.",),
            from_log=bool(e.log.text),
        )


@rule
def processor_family(e: Evidence) -> Iterator[Finding]:
    """There are no wheels for this processor family."""
    machine = str(e.facts.system.machine or "").lower()
    hopeless = machine and machine not in SUPPORTED
    on_arm = e.windows and machine in {"arm64", "aarch64"}
    trouble = bool(wanted(e)) or e.facts.torch.import_ == "missing" or e.says(*NOTHING_FITS)
    if (hopeless or on_arm) and e.facts.torch.import_ != "ok" and (trouble or not e.log.text):
        yield Finding(
            "no-wheel-arch",
            Weight.CONFIRMED if trouble else Weight.PROVEN,
            (f"The processor family is {machine}.",),
            from_log=bool(e.log.text),
        )
    match = e.search(
        r"\b(?:win_arm64|linux_armv[67]l|linux_ppc64le|linux_riscv64|linux_s390x|linux_loongarch64|linux_i686)\b"
    )
    if match and not machine and trouble:
        yield Finding("no-wheel-arch", Weight.DECISIVE, (e.quote(match),), from_log=True)


@rule
def intel_mac(e: Evidence) -> Iterator[Finding]:
    """An Intel Mac, or an Intel Python on Apple Silicon, where wheels end with torch 2.2.2."""
    if e.facts.system.os and not e.macos:
        return
    rosetta, intel = e.machine.rosetta, _intel_mac(e)
    ends = [w for w in wanted(e) if _ends_with_last_intel(w)]
    uv = e.search(NO_INTEL_WHEEL) if (e.macos or e.says("macosx_")) else None
    trouble = (
        bool(ends)
        or (uv and (intel or rosetta))
        or (e.facts.torch.import_ == "missing" and numbers(e.torch_version) == ())
    )
    if rosetta:
        why = "The Python is x86_64, and the processor is Apple's."
        asked = e.search(r"MPS|mps") or trouble
        weight = Weight.CONFIRMED + 1 if asked else Weight.PROVEN
        yield Finding("macos-rosetta-python", weight, (why, *(w.quote for w in ends[:1])), from_log=bool(asked))
    elif ends and _apple(e):
        yield Finding(
            "macos-rosetta-python",
            Weight.CONFIRMED,
            ("The Mac has an Apple processor, and the list of versions ends as for Intel.", ends[0].quote),
            from_log=True,
        )
    elif ends or (uv and intel) or (intel and _wants_newer(e)):
        seen = tuple(w.quote for w in ends[:1]) or (f"macOS on {e.facts.system.machine}.",)
        yield Finding("no-wheel-macos-intel", Weight.CONFIRMED if intel else Weight.DECISIVE, seen, from_log=True)
        if not intel:
            yield Finding("macos-rosetta-python", Weight.SUGGESTED, seen, from_log=True)
    elif intel and e.python and e.python >= (3, 13) and (e.facts.torch.import_ == "missing" or wanted(e)):
        yield Finding(
            "no-wheel-macos-intel",
            Weight.PROVEN,
            (f"macOS on {e.facts.system.machine}, Python {e.facts.python.version}.",),
            from_log=bool(e.log.text),
        )


def _wants_newer(e: Evidence) -> bool:
    return any(numbers(w.release) > (2, 2, 2) for w in wanted(e) if w.name == "torch" and w.release)


def _ends_with_last_intel(w: Wanted) -> bool:
    last = {"torch": (2, 2, 2), "torchvision": (0, 17, 2), "torchaudio": (2, 2, 2)}[w.name]
    return bool(w.releases) and w.releases[-1] == last and (not w.release or numbers(w.release) > last)


def _intel_mac(e: Evidence) -> bool:
    return e.macos and e.facts.system.machine == "x86_64" and not e.machine.rosetta


def _apple(e: Evidence) -> bool:
    model = f"{e.facts.cpu.vendor or ''} {e.facts.cpu.model or ''} {' '.join(str(g.name) for g in e.gpus('apple'))}"
    return e.facts.system.machine == "arm64" or "apple" in model.lower()


@rule
def requirement(e: Evidence) -> Iterator[Finding]:
    """pip found no version that satisfies the requirement."""
    for w in wanted(e):
        if e.facts.python.bits == 32 or _ends_with_last_intel(w):
            continue
        yield from _pinned(e, w)


def _pinned(e: Evidence, w: Wanted) -> Iterator[Finding]:
    found, release = set(w.releases), numbers(w.release)
    mac = e.macos or any("macosx" in line for line in (w.quote,))
    if w.tag and (release in found or (mac and _kind(w.tag))):
        yield Finding(
            "wrong-index",
            Weight.DECISIVE,
            (w.quote, f"{w.name} {w.release} is there, its build +{w.tag} is not."),
            from_log=True,
        )
        return
    if not w.version or w.operator.startswith(("<", "~")):
        exists = None
    else:
        exists = wheel_exists(e, w.release) if w.name == "torch" else _companion_exists(e, w)
    tags = {v.partition("+")[2] for v in w.versions if "+" in v}
    if exists is False:
        yield Finding("no-wheel-for-python", Weight.CONFIRMED, (w.quote, _table(e, w)), _fixed_python(w), from_log=True)
    elif (exists is None and not e.python and found and release) or (
        exists and found and release and release < w.releases[0] and not tags
    ):
        yield from _by_range(w, tags)
    elif exists and found and release and tags:
        yield Finding(
            "wrong-index",
            Weight.CONFIRMED,
            (w.quote, f"The index has {', '.join(sorted(tags))} builds, but not of {w.release}."),
            from_log=True,
        )
    elif exists and not tags and found and release and release not in found and _old_pip(e):
        yield Finding("pip-too-old", Weight.CONFIRMED, (w.quote, f"pip is {e.facts.python.pip}."), from_log=True)


def _kind(tag: str) -> bool:
    return bool(re.match(r"cu\d|rocm|xpu|cpu", tag))


def _by_range(w: Wanted, tags: set[str]) -> Iterator[Finding]:
    """Judge by where the list begins and ends, when the Python is not known."""
    first, last, release = w.releases[0], w.releases[-1], numbers(w.release)
    if release in w.releases:
        return
    ended = [tag for tag in tags if _last_of(tag) and numbers(_last_of(tag)) < release]
    if ended:
        yield Finding(
            "wrong-index",
            Weight.DECISIVE,
            (w.quote, f"{ended[0]} ended with torch {_last_of(ended[0])}."),
            from_log=True,
        )
    elif release < first or release > last:
        place = "begins above" if release < first else "ends below"
        yield Finding(
            "no-wheel-for-python",
            Weight.DECISIVE - 1,
            (w.quote, f"The list for this Python {place} {w.release}."),
            _fixed_python(w),
            from_log=True,
        )
        if any(not _covered(tag, release) for tag in tags):
            yield Finding("wrong-index", Weight.SUGGESTED, (w.quote,), from_log=True)


def _last_of(tag: str) -> str:
    ranges = [row["torch"].split(" - ")[1] for row in catalog.data("backends")["backends"] if row["id"] == tag]
    return max(ranges, key=numbers) if ranges else ""


def _covered(tag: str, release: tuple[int, ...]) -> bool:
    """Say whether a backend was built for a release, by the catalog; what it does not know counts as not."""
    bounds = [row["torch"].split(" - ") for row in catalog.data("backends")["backends"] if row["id"] == tag]
    return any(numbers(first) <= release <= numbers(last) for first, last in bounds)


def _companion_exists(e: Evidence, w: Wanted) -> bool | None:
    torch = catalog.built_for(w.name, w.release)
    return wheel_exists(e, torch) if torch else None


def _table(e: Evidence, w: Wanted) -> str:
    have = catalog.pythons(e.machine.system, w.release) if w.name == "torch" else ()
    return (
        f"{w.name} {w.release} has wheels for {' '.join(have) or 'other Pythons'}, this is Python "
        f"{e.facts.python.version}."
    )


def _fixed_python(w: Wanted) -> tuple[str, ...]:
    """Name the Python that the wanted release has, and the release that this Python has."""
    torch = w.release if w.name == "torch" else catalog.built_for(w.name, w.release) or ""
    tags = [tag for tag in catalog.pythons("linux_x86_64", torch) if not tag.endswith("t")] if torch else []
    if not tags and torch and numbers(torch) < (2,):
        usable = [
            python
            for python, (first, last) in OLD_PYTHONS.items()
            if numbers(first) <= numbers(torch) and (not last or numbers(torch) <= numbers(last))
        ]
        version = usable[-1] if usable else ""
    else:
        version = f"3.{tags[-1].removeprefix('cp3')}" if tags else ""
    steps = (
        (f"uv venv --python {version} .venv   (with Python {version}, which has {w.name} {w.release})",)
        if version
        else ()
    )
    return (*steps, "{install}", "{reinstall}")


def _old_pip(e: Evidence) -> bool:
    """Say whether this pip does not know the tags of Linux wheels (manylinux_2_28 needs 20.3); Windows has none such."""
    if e.windows and numbers(str(e.facts.python.pip)) >= (10,):
        return False
    return bool(e.facts.python.pip) and numbers(str(e.facts.python.pip)) < (20, 3)


@rule
def poetry(e: Evidence) -> Iterator[Finding]:
    """Poetry found no file of the locked version for this Python and system."""
    match = e.search(CANDIDATES)
    if not match or e.facts.python.bits == 32 or _intel_mac(e) or "poetry/lib/python" in e.log.text:
        return  # a traceback through poetry's own Python says nothing of the project's
    w = Wanted(match[1], "==", match[2], (), e.quote(match))
    torch = w.release if w.name == "torch" else catalog.built_for(w.name, w.release) or ""
    exists = wheel_exists(e, torch)
    nowhere = not e.facts.system.os and any(
        e.machine.python not in catalog.pythons(system, torch) for system in ("windows_x86_64", "linux_x86_64")
    )
    if torch and (exists is False or (nowhere and e.python and numbers(torch) >= (2,))):
        weight = Weight.CONFIRMED if exists is False else Weight.LIKELY
        yield Finding("no-wheel-for-python", weight, (w.quote, _table(e, w)), _fixed_python(w), from_log=True)


@rule
def none_found(e: Evidence) -> Iterator[Finding]:
    """pip found no version at all, and the facts say why."""
    none = [w for w in wanted(e) if not w.releases]
    if not none or e.facts.python.bits == 32:
        return
    if _old_pip(e) and e.python and e.python < (3, 12):
        yield Finding("pip-too-old", Weight.CONFIRMED, (none[0].quote, f"pip is {e.facts.python.pip}."), from_log=True)
    if e.facts.python.implementation and e.facts.python.implementation != "cpython":
        yield Finding(
            "no-wheel-for-python",
            Weight.CONFIRMED,
            (none[0].quote, f"This is {e.facts.python.implementation}, wheels are for CPython."),
            from_log=True,
        )
    if e.python and none[0].version == "":
        newest = catalog.pythons(e.machine.system)
        if (
            newest
            and e.machine.python not in newest
            and not catalog.last_release(e.machine.system, str(e.machine.python))
            and _outside(e)
            and not _intel_mac(e)
        ):
            yield Finding(
                "no-wheel-for-python",
                Weight.CONFIRMED,
                (none[0].quote, f"No torch has a wheel for Python {e.facts.python.version}."),
                from_log=True,
            )
    url = str(e.facts.pip.index_url or "") or _looked_in(e)
    tag = re.search(r"/whl/(?:test/|nightly/)?(cu\d+|rocm[\d.]+|xpu|cpu)\b", url)
    if e.macos and tag and tag[1] != "cpu":
        yield Finding("wrong-index", Weight.CONFIRMED, (none[0].quote, f"{url} has nothing for macOS."), from_log=True)
    elif tag and tag[1] != "cpu" and _never(e, tag[1], none[0]):
        yield Finding(
            "wrong-index",
            Weight.CONFIRMED,
            (none[0].quote, f"{tag[1]} was never built for this release or system."),
            from_log=True,
        )
    elif none[0].tag and not url and e.macos:
        yield Finding("wrong-index", Weight.CONFIRMED, (none[0].quote, "macOS builds carry no +tag."), from_log=True)


def _outside(e: Evidence) -> bool:
    return bool(e.python) and ".".join(map(str, e.python or ())) not in OLD_PYTHONS


def _looked_in(e: Evidence) -> str:
    match = e.search(r"Looking in indexes: ([^\n]+)")
    return match[1] if match and "," not in match[1] else ""


def _never(e: Evidence, tag: str, w: Wanted) -> bool:
    """Say whether the catalog knows that a backend lacks this release or this system."""
    rows = [row for row in catalog.data("backends")["backends"] if row["id"] == tag]
    if not rows or not e.facts.system.os:
        return False
    if not any(e.machine.system in row["systems"] for row in rows):
        return True
    torch = w.release if w.name == "torch" else catalog.built_for(w.name, w.release) or ""
    return (
        bool(torch)
        and numbers(torch) >= (2,)
        and not any(
            numbers(row["torch"].split(" - ")[0]) <= numbers(torch) <= numbers(row["torch"].split(" - ")[1])
            for row in rows
        )
    )


@rule
def uv(e: Evidence) -> Iterator[Finding]:
    """uv could not resolve or install torch."""
    only = e.search(r"(?:only has wheels (?:for|with) the following|[Ww]heels are available for) [^\n]{0,400}")
    platform = e.search(
        r"Distribution `(torch\w*|triton\S*?|nvidia-\S+?)==(\S+) @ registry\+(\S+?)`? can't be installed "
        r"because it doesn't have a source distribution or wheel"
    )
    unsatisfiable = e.search(
        r"there is no version of torch(?:vision|audio)?(?:==|\s)[^\n]{0,60}|torch(?:vision|"
        r"audio)?\S{0,40} (?:was|were) not found|"
        r"only torch(?:vision|audio)?\S{0,60} (?:is|are) available|"
        r"No solution found when resolving[^\n]{0,80}\n[^\n]{0,400}torch"
    )
    concluded = e.search(r"requirements are unsatisfiable|we can conclude that|No solution found when resolving")
    abi = e.search(
        r"only has wheels with the following Python (?:ABI|implementation) tags?|You're using (?:CPython|"
        r"PyPy) [^\n]{0,40}, but `torch"
    ) or e.search(r"You're (?:using|requiring) (?:CPython|PyPy|Python)")
    if abi:
        yield Finding("no-wheel-for-python", Weight.DECISIVE, (e.quote(abi),), from_log=True)
    elif (old := _older_manylinux(e)) is not None:
        yield Finding("glibc-too-old", Weight.DECISIVE, (e.quote(old),), from_log=True)
    elif platform:
        yield from _uv_platform(e, platform, only)
    if unsatisfiable and concluded:
        yield Finding("uv-resolution", Weight.DECISIVE, (e.quote(unsatisfiable),), from_log=True)
        if "+" in unsatisfiable[0]:
            yield Finding("wrong-index", Weight.LIKELY, (e.quote(unsatisfiable),), from_log=True)


def _older_manylinux(e: Evidence) -> re.Match[str] | None:
    """Find uv's word that this Linux is older than every wheel of torch accepts."""
    said = r"You're on Linux \(`manylinux_2_(\d+)_|matching platform tag \(e\.g\., `manylinux_2_(\d+)_"
    mine = e.search(said)
    needs = [int(minor) for minor in re.findall(r"manylinux_2_(\d+)_", e.log.text[mine.end() :])] if mine else []
    have = int(mine[1] or mine[2]) if mine else 0
    return mine if mine and have < min(needs, default=28) else None


def _uv_platform(e: Evidence, platform: re.Match[str], only: re.Match[str] | None) -> Iterator[Finding]:
    name, version, url = platform[1], platform[2], platform[3]
    if not name.startswith("torch"):
        yield Finding("uv-resolution", Weight.DECISIVE, (e.quote(platform),), from_log=True)
        return
    index = "download.pytorch.org" in url or "/whl/" in url
    exists = wheel_exists(e, version) if name == "torch" else None
    if e.macos and (e.facts.system.machine == "x86_64" or not index):
        if e.facts.system.machine == "arm64":
            yield Finding("uv-resolution", Weight.DECISIVE, (e.quote(platform),), from_log=True)
        return
    if exists is False and not (only and index):
        yield Finding("no-wheel-for-python", Weight.CONFIRMED, (e.quote(platform),), from_log=True)
    elif index or only:
        yield Finding(
            "uv-resolution", Weight.DECISIVE, (e.quote(platform), *((e.quote(only),) if only else ())), from_log=True
        )
        yield Finding("wrong-index", Weight.LIKELY, (e.quote(platform),), from_log=True)


@rule
def musl(e: Evidence) -> Iterator[Finding]:
    """This Linux uses musl."""
    alpine = "alpine" in str(e.facts.system.name or "").lower() or "musl" in str(e.facts.system.libc or "").lower()
    match = e.search(r"\balpine\b|\bapk add\b") if wanted(e) or e.says("0.1.2") else None
    if (alpine or match) and e.facts.torch.import_ != "ok":
        seen = f"The C library is {e.facts.system.libc}." if e.facts.system.libc else "The system is Alpine."
        yield Finding(
            "no-wheel-musl", Weight.CONFIRMED if e.log.text else Weight.PROVEN, (seen,), from_log=bool(e.log.text)
        )


@rule
def glibc(e: Evidence) -> Iterator[Finding]:
    """The system's glibc is older than the wheel needs."""
    have = e.machine.oldest if e.machine.os == "linux" and e.facts.system.libc else None
    missing = e.facts.torch.import_ in {"missing", "error"}
    if not have or have >= (2, 28) or not (missing or wanted(e)):
        return
    asked = [numbers(w.release) for w in wanted(e) if w.name == "torch" and w.release]
    needs_new = any(release >= (2, 7) for release in asked) or (
        not asked and bool(wanted(e)) is False and e.facts.torch.import_ == "missing"
    )
    if needs_new or have < (2, 17):
        yield Finding(
            "glibc-too-old",
            Weight.CONFIRMED if asked else Weight.PROVEN - 1,
            (f"glibc is {e.facts.system.libc}, torch 2.7 and later need 2.28.",),
            from_log=bool(asked),
        )


@rule
def instructions(e: Evidence) -> Iterator[Finding]:
    """The processor lacks instructions that the build uses."""
    if e.facts.torch.import_ not in {"crash", "error"} and not e.says("core dumped"):
        return
    features = e.facts.cpu.features
    hidden = e.machine.cpu == "x86_64" and bool(features) and "avx2" not in (features or ())
    model = re.search(r"\b(?:cpu64|kvm64|qemu64|QEMU Virtual CPU)\b", str(e.facts.cpu.model or ""))
    old_arm = e.machine.old_arm and any(numbers(e.torch_version)[:2] == numbers(v)[:2] for v in ("2.0", "2.4", "2.10"))
    if e.facts.torch.import_ == "crash" and (hidden or model or old_arm) and not e.says("segmentation"):
        what = "shows no AVX2" if hidden else "is a plain virtual one" if model else "is an ARMv8.0"
        yield Finding(
            "cpu-isa-too-old",
            Weight.PROVEN,
            (f"The processor ({e.facts.cpu.model or 'unknown model'}) {what}, and import torch crashes.",),
            from_log=bool(e.log.text),
        )


@rule
def jetson(e: Evidence) -> Iterator[Finding]:
    """A generic aarch64 wheel on a Jetson."""
    board = any(a.jetson for a in e.machine.accelerators)
    text = f"{e.facts.system.kernel or ''} {e.facts.system.name or ''} {e.facts.system.version or ''}".lower()
    board = board or "tegra" in text or "jetpack" in text or "l4t" in text or "jetson" in text
    if (
        not board
        or e.works_on_gpu
        or re.search(r"nv\d\d\.\d\d|\+nv|tegra", e.torch_version)
        or not (e.torch_version or e.facts.torch.import_ == "ok")
    ):
        return
    served = e.facts.torch.arch_list and any(
        a in (e.facts.torch.arch_list or ()) for a in ("sm_87", "sm_72", "sm_110", "sm_53", "sm_62")
    )
    wrong = (
        e.cpu_build
        or e.facts.torch.devices == ()
        or e.search(r"is_available|no kernel image|not compiled with CUDA|CUDA unknown error|No CUDA GPUs")
    )
    if wrong and not served:
        yield Finding(
            "jetson-generic-wheel",
            Weight.CONFIRMED,
            (f"This is a Jetson, and torch {e.torch_version} is not NVIDIA's build for it.",),
            from_log=bool(e.log.text),
        )


@rule
def python_too_new(e: Evidence) -> Iterator[Finding]:
    """torch is missing, and no wheel exists for this Python."""
    if e.facts.torch.import_ != "missing" or wanted(e) or not e.python or e.facts.python.bits == 32:
        return
    implementation = e.facts.python.implementation
    if implementation and implementation != "cpython":
        yield Finding(
            "no-wheel-for-python",
            Weight.PROVEN + 1,
            (f"This is {implementation}, wheels are for CPython.",),
            from_log=bool(e.log.text),
        )
    elif (
        e.machine.system in catalog.systems()
        and not catalog.last_release(e.machine.system, str(e.machine.python))
        and _outside(e)
        and not _intel_mac(e)
    ):
        yield Finding(
            "no-wheel-for-python",
            Weight.PROVEN + 1,
            (f"No torch has a wheel for {e.machine.python_name}.",),
            from_log=bool(e.log.text),
        )


@rule
def wheel_file(e: Evidence) -> Iterator[Finding]:
    """A wheel file was given whose name does not fit this Python."""
    match = e.search(r"(torch\w*-[\w.+%]+)-(?:cp|py)(\d)(\d*)-\w+-(\w+)\.whl is not a supported wheel")
    if not match or e.facts.python.bits == 32:
        return
    tag = (int(match[2]), int(match[3])) if match[3] else None
    if e.python and tag and tag != e.python:
        seen = (e.quote(match), f"The wheel is for Python {tag[0]}.{tag[1]}, this is {e.facts.python.version}.")
        yield Finding("no-wheel-for-python", Weight.CONFIRMED, seen, from_log=True)
    elif (floor := re.search(r"manylinux_(2_\d+)", match[4])) and _below(e, floor[1]):
        yield Finding(
            "glibc-too-old", Weight.CONFIRMED, (e.quote(match), f"glibc is {e.facts.system.libc}."), from_log=True
        )
    elif e.facts.system.os and not _fits(match[4], e):
        yield Finding("wrong-index", Weight.CONFIRMED, (e.quote(match), f"The wheel is for {match[4]}."), from_log=True)


def _below(e: Evidence, floor: str) -> bool:
    have = e.machine.oldest if e.facts.system.libc else None
    return bool(have) and have < numbers(floor.replace("_", "."))  # type: ignore[operator]


def _fits(platform: str, e: Evidence) -> bool:
    low = platform.lower()
    system = (
        "windows"
        if low.startswith("win")
        else "macos"
        if low.startswith("macos")
        else "linux"
        if "linux" in low
        else ""
    )
    return not system or system == e.facts.system.os
