"""Containers, WSL, data loading: what the host has and this process does not get."""

from __future__ import annotations

from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight
from torchcheck.doctor.registry import rule
from torchcheck.doctor.rules.devices import NO_GPU
from torchcheck.doctor.rules.drivers import NO_DRIVER, NOT_TALKING, nvidia

MIB = 1 << 20
IN_CONTAINER = (
    r"exec: \W{0,4}nvidia-smi\W{0,4}: executable file not found|\bdocker (?:run|exec|compose)\b|"
    r"docker-compose|OCI runtime (?:command not found|exec failed)"
)


@rule
def not_visible(e: Evidence) -> Iterator[Finding]:
    """The container, WSL or session does not get the GPU."""
    match = (
        e.search(NO_DRIVER)
        or e.search(NO_GPU)
        or e.search(
            r"libcuda\.so(?:\.1)?: cannot open shared object|libcuda\.so cannot found|"
            r"executable file not found in \$PATH"
        )
    )
    inside = e.container or e.wsl
    if match and not inside and e.search(IN_CONTAINER) and not e.windows:
        yield Finding(
            "gpu-not-visible", Weight.LIKELY, (e.quote(match), "The text speaks of a container."), from_log=True
        )
    if not inside or e.works_on_gpu:
        return
    driver = e.facts.drivers.nvidia
    where = f"This is {'WSL' if e.wsl else 'a container'}."
    if match and not _explained(e):
        yield Finding("gpu-not-visible", Weight.CONFIRMED, (e.quote(match), where), from_log=True)
        if e.container and not (driver and driver.version):
            yield Finding("docker-no-toolkit", Weight.SUGGESTED, (e.quote(match),), from_log=True)
    elif e.search(NOT_TALKING) and e.container:
        yield Finding("gpu-not-visible", Weight.SUGGESTED, (where,), from_log=True)
    elif nvidia(e) and driver is None and (e.cuda or e.facts.torch.devices == ()):
        yield Finding(
            "gpu-not-visible",
            Weight.PROVEN + 1,
            (where, f"GPU: {nvidia(e)[0].described}; no driver library is visible."),
            from_log=bool(e.log.text),
        )
    elif e.container and e.gpus("amd") and e.facts.drivers.amd and e.facts.drivers.amd.kfd is False:
        yield Finding("gpu-not-visible", Weight.PROVEN + 1, (where, "There is no /dev/kfd."), from_log=bool(e.log.text))


def _explained(e: Evidence) -> bool:
    """Say whether something else explains it: no permission, a hiding variable."""
    amd = e.facts.drivers.amd
    hiding = any(
        (e.facts.env or {}).get(name) in {"", "-1"} for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    )
    return bool(amd and amd.permitted is False) or hiding


@rule
def smi_error(e: Evidence) -> Iterator[Finding]:
    """nvidia-smi is not there inside a container."""
    driver = e.facts.drivers.nvidia
    error = str(driver.error or "") if driver else ""
    if e.container and error and "not found" in error and not e.log.text.strip():
        yield Finding("gpu-not-visible", Weight.PROVEN, (f"nvidia-smi: {error}",), from_log=False)


@rule
def toolkit_too_old(e: Evidence) -> Iterator[Finding]:
    """WSL: the container toolkit does not know a library that Windows' drivers have from 555 on.

    https://github.com/NVIDIA/nvidia-container-toolkit/issues/520
    """
    match = e.search(r"error 500\b[^\n]{0,20}named symbol not found|CUDA_ERROR_NOT_FOUND\b")
    if match and not e.macos:
        weight = Weight.DECISIVE if e.container or e.wsl or e.search(IN_CONTAINER) else Weight.LIKELY
        seen = (e.quote(match), "In a container under WSL, libnvdxgdmal.so.1 of the driver was not passed on.")
        fix = (
            "Update Docker Desktop (from 4.31) or nvidia-container-toolkit (from 1.14.4) and restart the container.",
            "wsl --update",
        )
        yield Finding("gpu-not-visible", weight, seen, fix, from_log=True)
        yield Finding("docker-no-toolkit", Weight.SUGGESTED, seen, fix, from_log=True)


@rule
def wsl_libcuda(e: Evidence) -> Iterator[Finding]:
    """WSL: cuDNN cannot find libcuda.so."""
    match = e.search(
        r"Could not load library libcudnn\w*\.so\S*[^\n]{0,40}libcuda\.so|libcuda\.so: cannot open shared object"
    )
    if match and (e.wsl or e.says("/usr/lib/wsl", "WSL")):
        yield Finding("wsl-libcuda-path", Weight.CONFIRMED, (e.quote(match), "This is WSL."), from_log=True)
    elif match and "libcudnn" in match[0] and not e.container and not e.windows:
        yield Finding("wsl-libcuda-path", Weight.SUGGESTED, (e.quote(match),), from_log=True)


@rule
def small_shm(e: Evidence) -> Iterator[Finding]:
    """Shared memory is as small as Docker gives it."""
    shm = e.facts.memory.shm
    if isinstance(shm, int) and shm <= 64 * MIB and (e.container or shm > 0):
        match = e.search(r"[Bb]us error|DataLoader worker[^\n]{0,60}(?:killed|exited)|shared memory|unexpectedly")
        yield Finding(
            "shm-too-small",
            Weight.CONFIRMED if match else Weight.HINT + 10,
            (f"/dev/shm has {shm / MIB:.0f} MiB.",),
            from_log=bool(match),
        )
