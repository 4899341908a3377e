"""Environment variables that change what torch, pip or the loader do; no other names ever leave the machine."""

from __future__ import annotations

import re
from typing import Any

from torchcheck.probes import Asked

PREFIXES = (
    "ACCELERATE_", "AMD_", "CUBLAS_", "CUDA_", "CUDNN_", "DYLD_", "GOMP_", "GPU_", "HIP_", "HSA_", "KMP_", "MIOPEN_",
    "MKL_", "NCCL_", "NVIDIA_", "OMP_", "ONEAPI_", "OPENBLAS_", "PIP_", "PYTORCH_", "RCCL_", "ROCM_", "ROCR_",
    "SYCL_", "TORCH", "TRITON_", "UR_", "UV_", "VECLIB_", "ZE_",
)  # fmt: skip
NAMES = frozenset(
    {"APPTAINER_CONTAINER", "CC", "CONDA_DEFAULT_ENV", "CONDA_PREFIX", "CXX", "HTTPS_PROXY", "HTTP_PROXY",
     "LD_LIBRARY_PATH", "LD_PRELOAD", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT", "NO_PROXY", "NUMEXPR_NUM_THREADS",
     "PYTHONHASHSEED", "PYTHONHOME", "PYTHONNOUSERSITE", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUSERBASE", "RANK",
     "REQUESTS_CA_BUNDLE", "SINGULARITY_CONTAINER", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP", "TMP", "TMPDIR",
     "VIRTUAL_ENV", "WORLD_SIZE", "WSL_DISTRO_NAME", "XDG_CACHE_HOME", "https_proxy", "http_proxy", "no_proxy"}
)  # fmt: skip
SECRET = re.compile(r"TOKEN|SECRET|PASSW|CREDENTIAL|API_?KEY|AUTH|USERNAME", re.IGNORECASE)
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


def probe(asked: Asked) -> dict[str, Any]:
    """Collect the variables that are set."""
    found = sorted(asked.host.environ().items())
    return {"env": {name: without_credentials(value) for name, value in found if allowed(name)}}


def allowed(name: str) -> bool:
    """Say whether a variable may be shown."""
    return (name in NAMES or name.startswith(PREFIXES)) and not SECRET.search(name)


def without_credentials(text: str) -> str:
    """Take user names and passwords out of URLs."""
    return _USERINFO.sub("", text)
