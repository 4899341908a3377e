"""Shared libraries on Linux: which copy is loaded, and which is missing."""

from __future__ import annotations

import re
from collections.abc import Iterator

from torchcheck.doctor.evidence import Evidence, Finding, Weight, numbers
from torchcheck.doctor.registry import rule
from torchcheck.doctor.signatures import NVIDIA_LIBRARY

MISSING = (
    rf"({NVIDIA_LIBRARY})\.so(?:\.(\d+))?[.\d]*: cannot open shared object file|"
    rf"Could not load (?:dynamic )?library '?({NVIDIA_LIBRARY})\.so"
)
FOREIGN = r"cuda|cudnn|torch|nccl|tensorrt|oneapi|conda|/mkl"
USERS = (
    r"flash_attn\w*|xformers|torchvision|torchaudio|torch_scatter|torch_sparse|torch_cluster|mmcv|detectron2|"
    r"apex|deepspeed|causal_conv1d\w*|mamba_ssm|bitsandbytes|vllm|fbgemm_gpu|torchtext|pytorch3d|onnxruntime|"
    r"tensorflow|cupy|dgl|natten|gsplat|nvdiffrast"
)
# Programs that load CUDA by themselves and say so in the same line.
OTHERS = (
    r"onnxruntime|\btensorflow|\btsl/|dso_loader|\bxla\b|\bjax|ctranslate2|paddle|libmxnet|\bfaiss|"
    r"cupy_backends|tensorrt"
)
CUDA_OF = {"libcudart": 0, "libcublas": 0, "libcublasLt": 0, "libnvrtc": 0, "libcusparse": 0, "libnvJitLink": 0}


@rule
def missing_library(e: Evidence) -> Iterator[Finding]:
    """A library of NVIDIA's wheels cannot be found."""
    match = e.search(MISSING)
    if not match or e.windows or e.macos or re.search(OTHERS, e.log.line_at(match.start()), re.IGNORECASE):
        return
    name, soname = match[1] or match[3], match[2]
    if _split(e):
        yield Finding(
            "venv-lib-lib64-split",
            Weight.CONFIRMED + 1,
            (e.quote(match), f"torch is {e.facts.torch.file}."),
            from_log=True,
        )
        return
    user = _importer(e)
    other_cuda = name in CUDA_OF and soname and e.cuda and int(soname) != e.cuda[0] and int(soname) < 20
    if user or other_cuda:
        code = "companion-mismatch" if user in {"torchvision", "torchaudio", "torchtext"} else "extension-abi-mismatch"
        seen = (
            e.quote(match),
            *((f"torch is built for CUDA {e.cuda[0]}.{e.cuda[1]}.",) if e.cuda and other_cuda else ()),
        )
        yield Finding(code, Weight.CONFIRMED if user and other_cuda else Weight.DECISIVE - 5, seen, from_log=True)
        yield Finding("nvidia-deps-broken", Weight.SUGGESTED, (e.quote(match),), from_log=True)
    else:
        own = (
            e.facts.torch.import_ == "error"
            or e.search(r"from torch\._C import|torch[\\/]__init__\.py|libtorch|import torch\b")
            or name not in CUDA_OF
        )
        yield Finding("nvidia-deps-broken", Weight.DECISIVE if own else Weight.LIKELY, (e.quote(match),), from_log=True)


def _importer(e: Evidence) -> str:
    """The extension whose import failed, by the last file of the traceback; torch itself gives ""."""
    frames = re.findall(r'File "[^"\n]*?(?:site|dist)-packages[\\/](\w+)[^"\n]*"', e.log.text)
    last = frames[-1] if frames else ""
    return last if re.fullmatch(USERS, last) else ""


def _split(e: Evidence) -> bool:
    """Say whether torch lies in lib64 while other packages lie in lib."""
    file = str(e.facts.torch.file or "")
    order = e.facts.python.in_path_order or ()
    in_lib64 = "/lib64/python" in file or bool(e.search(r"/lib64/python3[.\d]*/site-packages/torch/"))
    both = any("/lib64/" in p and "-packages" in p for p in order) and any(
        "/lib/" in p and "-packages" in p for p in order
    )
    return in_lib64 and (
        both
        or bool(e.search(r"/lib/python3[.\d]*/site-packages/nvidia"))
        or (e.facts.python.environment == "venv" and not order)
    )


@rule
def split_environment(e: Evidence) -> Iterator[Finding]:
    """torch lies in lib64, its NVIDIA libraries in lib."""
    if _split(e) and e.facts.torch.import_ == "error" and not e.search(MISSING):
        yield Finding(
            "venv-lib-lib64-split", Weight.PROVEN, (f"torch is {e.facts.torch.file}.",), from_log=bool(e.log.text)
        )


@rule
def requirements(e: Evidence) -> Iterator[Finding]:
    """The NVIDIA packages beside torch are of another CUDA major, or their requirements are not met."""
    names = {
        m[1]
        for name in e.facts.packages or {}
        if (m := re.fullmatch(r"nvidia-(?:cublas|cuda-runtime|cudnn|nccl)-cu(\d\d)", name))
    }
    if e.cuda and names and e.linux and str(e.cuda[0]) not in names and e.facts.torch.import_ in {"error", "crash"}:
        seen = (f"torch is built for CUDA {e.cuda[0]}, the NVIDIA packages are for CUDA {', '.join(sorted(names))}.",)
        yield Finding("nvidia-deps-broken", Weight.PROVEN, seen, from_log=bool(e.log.text))


@rule
def nvidia_conflict(e: Evidence) -> Iterator[Finding]:
    """A symbol of an NVIDIA library is missing: another copy of it was loaded, or the wheels do not fit each other."""
    match = e.search(
        r"undefined symbol: (?:_{0,2}nvJitLink|cublas|cusparse|cusolver|cufft|nccl|cudnn|_Z\d+cudnn|"
        r"nvrtc)\w*|libcudnn\w*\.so[.\d]*: undefined symbol"
    )
    if match and not e.windows:
        path = (e.facts.env or {}).get("LD_LIBRARY_PATH", "")
        yield Finding("nvidia-deps-broken", Weight.LIKELY, (e.quote(match),), from_log=True)
        if path:
            yield Finding(
                "library-path-conflict",
                Weight.CONFIRMED,
                (e.quote(match), f"LD_LIBRARY_PATH is {path}."),
                from_log=True,
            )


@rule
def library_path(e: Evidence) -> Iterator[Finding]:
    """LD_LIBRARY_PATH puts foreign libraries before the wheel's own."""
    env = e.facts.env or {}
    path = env.get("LD_LIBRARY_PATH", "") or env.get("LD_PRELOAD", "")
    foreign = [
        p for p in path.split(":") if re.search(FOREIGN, p, re.IGNORECASE) and "/wsl/" not in p and "compat" not in p
    ]
    broken = e.facts.torch.import_ in {"error", "crash"}
    if foreign and broken and e.linux:
        fits = e.search(r"undefined symbol|version [`'\"]?\S+['\"]? not found|egmentation|SIGSEGV|\.so")
        yield Finding(
            "library-path-conflict",
            Weight.PROVEN if fits or e.facts.torch.import_ == "crash" else Weight.SUGGESTED,
            (f"LD_LIBRARY_PATH is {path}.", "torch does not import."),
            from_log=bool(e.log.text),
        )
    elif foreign and e.linux and e.facts.torch.import_ == "ok" and _other_copy(e, foreign) and not e.works_on_gpu:
        yield Finding("library-path-conflict", Weight.HINT + 5, (f"LD_LIBRARY_PATH is {path}.",))
    named = [p for p in path.split(":") if len(p) > 1 and "/wsl/" not in p and f"{p.rstrip('/')}/lib" in e.log.text]
    if named and e.linux:
        seen = (f"The library that failed lies in {named[0]}, which LD_LIBRARY_PATH puts first.",)
        yield Finding("library-path-conflict", Weight.CONFIRMED + 3, seen, from_log=True)
    crash = e.search(
        r"egmentation fault[^\n]{0,40}import(?:ing)? torch|"
        r"import(?:ing)? torch[^\n]{0,80}\n?[^\n]{0,80}egmentation fault"
    )
    if crash and foreign:
        yield Finding(
            "library-path-conflict", Weight.CONFIRMED, (e.quote(crash), f"LD_LIBRARY_PATH is {path}."), from_log=True
        )
    loaded = e.search(
        r"(?:/usr/local/cuda[^\s:'\"]{0,80}|/usr/lib/x86_64-linux-gnu|"
        r"/opt/(?:(?!site-packages)[^\s:'\"]){0,60})/(?:lib64/|targets/[\w-]+/lib/)?lib(?:cudnn|cublas|"
        r"cusparse|nvJitLink|nccl|cudart|torch|c10)\w*\.so[^\n]{0,120}(?:undefined symbol|version [`'\"]|"
        r"not found)"
    )
    if loaded:
        yield Finding("library-path-conflict", Weight.DECISIVE, (e.quote(loaded),), from_log=True)


def _other_copy(e: Evidence, foreign: list[str]) -> bool:
    """Say whether a folder holds libraries that differ from the wheel's: cuDNN, torch, or CUDA of another version."""
    for folder in foreign:
        version = re.search(r"cuda-?(\d+)\.(\d+)", folder)
        if re.search(r"cudnn|libtorch|torch/lib|oneapi|tensorrt", folder, re.IGNORECASE):
            return True
        if version and e.cuda and (int(version[1]), int(version[2])) != e.cuda:
            return True
    return False


@rule
def cudnn_start(e: Evidence) -> Iterator[Finding]:
    """cuDNN cannot start, and the driver or the memory says why."""
    match = e.search(
        r"CUDNN_STATUS_NOT_INITIALIZED|CUDNN_STATUS_INTERNAL_ERROR|CUDNN_STATUS_ALLOC_FAILED|"
        r"CUDNN_STATUS_SUBLIBRARY_(?:VERSION_MISMATCH|LOADING_FAILED)|"
        r"unable to find an engine to execute this computation"
    )
    if not match:
        return
    text = match[0].upper()
    if "SUBLIBRARY" in text:
        yield Finding("library-path-conflict", Weight.DECISIVE, (e.quote(match),), from_log=True)
        yield Finding("nvidia-deps-broken", Weight.LIKELY, (e.quote(match),), from_log=True)
    elif "NOT_INITIALIZED" not in text and not e.search(r"undefined symbol|Could not locate|Could not load"):
        yield Finding(
            "cudnn-init-failed",
            Weight.LIKELY if "ENGINE" not in text else Weight.SUGGESTED,
            (e.quote(match),),
            from_log=True,
        )


@rule
def foreign_torch(e: Evidence) -> Iterator[Finding]:
    """Torch's own libraries miss each other's symbols: parts of two installations."""
    match = e.search(
        r"(?:libtorch_python|libtorch_cpu|libtorch_cuda|libtorch|"
        r"torch[\\/]_C)[\w.-]*\.so: undefined symbol: (_Z\w+|c10\w*|torch\w*|at\w*)"
    )
    if match:
        path = (e.facts.env or {}).get("LD_LIBRARY_PATH", "")
        yield Finding(
            "library-path-conflict",
            Weight.CONFIRMED if path else Weight.LIKELY,
            (e.quote(match), *((f"LD_LIBRARY_PATH is {path}.",) if path else ())),
            from_log=True,
        )
        yield Finding("duplicate-install", Weight.SUGGESTED, (e.quote(match),), from_log=True)
        yield Finding("corrupt-install", Weight.SUGGESTED, (e.quote(match),), from_log=True)


@rule
def loaded(e: Evidence) -> Iterator[Finding]:
    """The process has loaded a CUDA or torch library from outside its environment, or two OpenMP runtimes."""
    libraries = e.facts.torch.libraries or ()
    home = [str(place) for place in (e.facts.python.prefix, e.facts.python.site_packages) if place]
    home += [str(e.facts.torch.file or "").rpartition("/torch/")[0]]
    wheel = "+" in str(e.facts.torch.version or "")
    path = [p.rstrip("/") for p in (e.facts.env or {}).get("LD_LIBRARY_PATH", "").split(":") if p]
    foreign = [
        p
        for p in libraries
        if re.search(BUNDLED, p)
        and not any(h and p.startswith(h) for h in home)
        # An environment of links (uv's link mode) loads its own wheel's files from where they really are.
        and (not re.search(IN_WHEEL, p) or p.rpartition("/")[0] in path)
    ]
    if foreign and wheel and home:
        yield Finding("library-path-conflict", Weight.HINT + 15, (f"Loaded from elsewhere: {', '.join(foreign[:3])}.",))
    openmp = sorted({p for p in libraries if re.search(r"/lib(?:iomp5|omp)\b", p)})
    if len(openmp) > 1:
        seen = (f"Two OpenMP runtimes are loaded: {', '.join(openmp)}.",)
        yield Finding("omp-duplicate", Weight.HINT + 10, seen, severity="warning")


# Where wheels put libraries.
IN_WHEEL = r"/(?:torch|nvidia/\w+)/lib/[^/]+$"
# What torch's wheels bring along; the driver's own libraries (libcuda, libnvidia-…) belong to the system.
BUNDLED = r"/lib(?:cudnn|cublas|cusparse|cusolver|cufft|curand|cudart|nvrtc|nvJitLink|nccl|torch|c10)\w*\.so"


@rule
def foreign_mkl(e: Evidence) -> Iterator[Finding]:
    """A symbol of MKL is missing: another copy of it is loaded first."""
    match = e.search(r"undefined symbol: (?:cblas_|mkl_|vml|vsl|omp_|GOMP_|__kmpc)\w*")
    if match:
        yield Finding("library-path-conflict", Weight.LIKELY, (e.quote(match),), from_log=True)
        if e.conda or e.says("conda"):
            yield Finding("conda-channel-mix", Weight.SUGGESTED, (e.quote(match),), from_log=True)


@rule
def old_glibc(e: Evidence) -> Iterator[Finding]:
    """Torch's library asks for a newer glibc than the system has."""
    match = e.search(r"GLIBC_(2\.\d+)")
    have = e.machine.oldest if e.facts.system.libc else None
    if match and have and numbers(match[1]) > have:
        yield Finding(
            "glibc-too-old",
            Weight.CONFIRMED,
            (e.quote(match), f"This system has {e.facts.system.libc}."),
            from_log=True,
        )
