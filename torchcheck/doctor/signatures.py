"""Error texts that name their cause, one row each, with the place where the text was seen.

Windows and pip translate their words, so rows match numbers, symbols and file names wherever there are any. A text with
several causes is no row here: a rule decides by the facts, or `AMBIGUOUS` below says which fact would.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from torchcheck.doctor.evidence import Weight


class Signature(NamedTuple):
    """One error text.

    Args:
        code: what it says.
        pattern: the text; case does not matter; linear in the length of a line.
        source: a thread in which it was seen (below github.com), or the program that prints it so.
        weight: how much it says by itself.
        systems: where it can happen, in letters (w, l, m); a system that is known to be another rules it out.
        unless: a pattern that rules it out, when found anywhere in the text.
    """

    code: str
    pattern: str
    source: str
    weight: int = Weight.DECISIVE
    systems: str = "wlm"
    unless: str = ""


# The Python packages that torch imports at start (Requires-Dist of the wheels, 1.13 to 2.15).
DEPENDENCY: Final = "(?:sympy|mpmath|filelock|jinja2|markupsafe|typing_extensions|networkx|fsspec|setuptools|pkg_resources|distutils|future)"
MB: Final = r"\d[\d.]*\s*/\s*\d[\d.]*\s*[kMG]i?B"
NVIDIA_LIBRARY: Final = (
    r"lib(?:cudnn\w*|cublas\w*|cusparse\w*|cusolver\w*|cufft\w*|curand|nccl|nvrtc\w*|cudart|cupti|cufile\w*|nvJitLink|nvToolsExt|"
    r"nvshmem\w*)"
)

# Attributes that the module of the standard library has had in every Python: if it lacks one, it is another module.
STDLIB_ATTRIBUTE: Final = (
    r"(?:random' has no attribute '(?:Random|SystemRandom|randint|randrange|choice|choices|shuffle|seed|sample|uniform|getstate|random)|"
    r"typing' has no attribute '(?:Generic|Any|List|Dict|Optional|Union|Callable|NamedTuple|TypeVar|overload|TYPE_CHECKING)|"
    r"json' has no attribute '(?:loads|dumps|load|dump|decoder|JSONDecodeError)|logging' has no attribute '(?:getLogger|Handler|NullHandler|INFO|basicConfig)|"
    r"types' has no attribute '(?:ModuleType|FunctionType|MethodType|CodeType|SimpleNamespace|MappingProxyType|GeneratorType)|"
    r"copy' has no attribute '(?:deepcopy|copy)|inspect' has no attribute '(?:signature|isfunction|getmembers|isclass|stack)|"
    r"enum' has no attribute '(?:Enum|IntEnum|Flag)|dis' has no attribute '\w+|numbers' has no attribute '(?:Number|Integral|Real)|"
    r"operator' has no attribute '(?:itemgetter|attrgetter|index|add)|queue' has no attribute '(?:Queue|Empty|SimpleQueue)|"
    r"string' has no attribute '(?:digits|ascii_lowercase|Template)|struct' has no attribute '(?:calcsize|unpack|pack|Struct)|"
    r"platform' has no attribute '(?:system|machine|python_version|platform)|functools' has no attribute '(?:wraps|partial|lru_cache)|"
    r"select' has no attribute '\w+|signal' has no attribute '(?:signal|SIGINT)|token' has no attribute '\w+|tokenize' has no attribute '\w+|"
    r"warnings' has no attribute '(?:warn|filterwarnings|catch_warnings)|contextlib' has no attribute '(?:contextmanager|suppress))"
)

S = Signature
SIGNATURES: Final = (
    # 1. Wrong build, wrong place
    S("externally-managed", r"externally[- ]managed(?:-| )environment|environment is externally managed",
      "Comfy-Org/ComfyUI/issues/3554"),
    S("file-shadowing", r"'(?:multiprocessing|torch|random|typing|json|collections|logging|types|email|http|queue|"
      r"numbers|statistics|copy|profile|code|token|select|signal|secrets|string|inspect|enum|abc|struct|calendar|platform|dis|ast|"
      r"unittest|xml|concurrent|importlib)' is not a package", "pytorch/pytorch/issues/46723"),
    S("file-shadowing", rf"module '{STDLIB_ATTRIBUTE}'", "microsoft/PTVS/issues/7090"),
    S("file-shadowing", r"partially initialized module 'torch'(?: has no attribute '\w+')?[^\n]{0,60}\((?![^)\n]*-packages)[^)\n]*torch\.py",
      "pytorch/pytorch/issues/19943"),
    S("file-shadowing", r"cannot import name '\w+' from (?:partially initialized module )?'(?:random|typing|types|queue|copy|dis|ast|inspect|enum|"
      r"functools|collections|dataclasses|numbers|json|logging|multiprocessing|contextlib|warnings|tokenize|operator|platform|string)'"
      r"(?: \(most likely due to a circular import\))? \((?!most likely)(?![^)\n]*lib[\\/]python3[.\d]*[\\/][a-z_]+(?:[\\/]__init__)?\.py)(?![^)\n]*\\lib\\[a-z_]+(?:\\__init__)?\.py)", "printed by Python"),
    S("file-shadowing", r"consider renaming '[^'\n]{0,300}\.py' (?:since it has the same name|if it has the same name)",
      "printed by Python 3.13"),
    S("file-shadowing", r"(?:Failed to load PyTorch C extensions|It appears that PyTorch has loaded the `torch/_C` folder)",
      "printed by torch/__init__.py"),
    S("uv-resolution", r"is not part of a valid version", "printed by uv"),
    S("wrong-index", r"404 Client Error: Not Found for url: https://download\.pytorch\.org/\S+|HTTP error 404 while getting https://download\.pytorch\.org\S+",
      "pytorch/pytorch/issues/942", Weight.LIKELY),
    # 2. Nothing to install
    S("no-wheel-for-python", r"Package 'torch(?:vision|audio)?' requires a different Python", "printed by pip"),
    S("no-wheel-for-python", r"torch\S* has no wheels with a matching Python (?:ABI|version|implementation) tag", "astral-sh/uv/issues/10843"),
    S("no-wheel-musl", r"Error relocating [^\n]{0,300}(?:torch|libgomp|numpy)", "alpine-wheels/index/issues/700"),
    S("no-wheel-musl", r"musllinux_\d+_\d+_\w+|ld-musl-", "astral-sh/uv/issues/8358", Weight.LIKELY, "l"),
    S("no-wheel-musl", r"ld-linux-(?:x86-64|aarch64)\.so\.\d: No such file", "docker-library/python/issues/341", Weight.LIKELY, "l"),
    S("glibc-too-old", r"version [`'‘\"]?GLIBC_2\.\d+['’\"]? not found", "KumaTea/pytorch-aarch64/issues/16", systems="l"),
    S("cpu-isa-too-old", r"Illegal instruction", "pytorch/pytorch/issues/22338"),
    S("cpu-isa-too-old", r"\bSIGILL\b|\bsignal:? 4\b", "pytorch/pytorch/issues/132032"),
    S("cpu-isa-too-old", r"0xC000001D|\b3221225501\b|-1073741795\b", "printed by Windows exception code"),
    S("cpu-isa-too-old", r"exit(?:ed|s)?(?: with)?(?: status| code)?:?\s*(?:132|-4)\b", "pytorch/pytorch/issues/22338", Weight.LIKELY),
    S("pip-too-old", r"has inconsistent Name: expected '[\w-]+', but metadata has '[\w-]+'",
      "lllyasviel/FramePack/issues/144"),
    S("pip-too-old", r"unsupported metadata-version|Metadata-Version [^\n]{0,40}not supported", "printed by pip",
      Weight.LIKELY),
    # 3. Download, disk, pip
    S("python-ssl-missing", r"ssl module in Python is not available|the SSL module is not available",
      "pytorch/pytorch/issues/35880"),
    S("python-ssl-missing", r"No module named '_ssl'|DLL load failed while importing _ssl", "pytorch/pytorch/issues/94194"),
    S("index-server-fault", r"certificate has expired", "pytorch/pytorch/issues/33292"),
    S("ssl-proxy-ca", r"CERTIFICATE_VERIFY_FAILED[^\n]{0,200}?(?:self[- ]signed certificate|unable to get "
      r"(?:local )?issuer certificate)", "pytorch/pytorch/issues/47354"),
    S("ssl-proxy-ca", r"CERTIFICATE_VERIFY_FAILED", "pytorch/pytorch/issues/71545", Weight.LIKELY,
      unless=r"certificate has expired"),
    S("ssl-proxy-ca", r"invalid peer certificate: UnknownIssuer|unable to get local issuer certificate", "printed by uv"),
    S("index-server-fault", r"403 Client Error: Forbidden for url: https://(?:download\.pytorch|files\.pythonhosted|pypi|conda\.anaconda)\.org|HTTP error 403 while getting https|"
      r"HTTP 403 FORBIDDEN for url <https://conda", "pytorch/pytorch/issues/81900", Weight.LIKELY),
    S("index-server-fault", r"HTTP error 5\d\d\b|\b5\d\d (?:Server Error|Bad Gateway|Service Unavailable|Internal Server Error)|too many 5\d\d "
      r"error responses|status code:? 5\d\d\b|\(5\d\d\) for url|HTTP status server error \(5\d\d", "pytorch/pytorch/issues/71545"),
    S("disk-full", r"\[?Errno 28\]?", "huggingface/lerobot/issues/59", unless=r"/torch_\d+|/dev/shm|shared memory"),
    S("disk-full", r"No space left on device|os error 28", "pterodactyl/panel/issues/3541", Weight.LIKELY,
      unless=r"/torch_\d+|/dev/shm|shared memory"),
    S("disk-full", r"WinError 112\b|os error 112\b", "printed by Windows error 112", systems="w"),
    S("disk-full", r"\bENOSPC\b|disk quota exceeded|\[Errno 122\]", "printed by errno of Linux"),
    S("win-long-path", r"WinError 206\b|os error 206\b", "pytorch/pytorch/issues/23823", systems="w"),
    S("win-long-path", r"Windows Long Path support|pip\.pypa\.io/warnings/enable-long-paths|\bLongPathsEnabled\b",
      "pytorch/pytorch/issues/167891", systems="w"),
    S("corrupt-install", r"WinError 193\b", "patrickloeber/pytorch-chatbot/issues/10", systems="w"),
    S("corrupt-install", r"\.so[.\d]*: file too short", "printed by ld.so"),
    S("corrupt-install", r"\.so[.\d]*: (?:invalid ELF header|wrong ELF class|ELF load command|only ET_DYN)", "printed by ld.so, Python"),
    S("corrupt-install", r"no RECORD file (?:was )?found for torch|Cannot uninstall torch [^\n]{0,80}no RECORD|uninstall-no-record-file",
      "printed by pip"),
    S("corrupt-install", r"torch[\\/][^\n]{0,200}mach-o(?: file)?, but (?:is an incompatible|wrong) architecture",
      "printed by dyld", Weight.LIKELY, "m"),
    S("corrupt-install", r"cannot import name '\w+' from 'torch\.[\w.]+' \(|cannot import name '\w+' from 'torch' \(unknown location\)|"
      r"module 'torch' has no attribute '(?:__version__|Tensor|_C|cuda|nn|float32|tensor)'", "printed by ld.so, Python", Weight.SUGGESTED,
      unless=r"is not a package"),
    S("dependency-broken", rf"No module named '?{DEPENDENCY}\b", "printed by Python"),
    S("dependency-broken", rf"module '{DEPENDENCY}(?:\.\w+)*' has no attribute", "pytorch/pytorch/issues/108357"),
    S("dependency-broken", rf"cannot import name '?\w+'? from (?:partially initialized module )?'{DEPENDENCY}(?:\.[\w.]+)?'",
      "pytorch/pytorch/issues/116945"),
    S("dependency-broken", r"attribute '__default__' of 'typing\.ParamSpec' objects is not writable", "ROCm/pytorch/pull/2475"),
    # 4. Windows loading, OpenMP, conda
    S("win-vcredist", r"Visual C\+\+ Redistributable is not installed|vc_redist(?:\.x64)?\.exe",
      "pytorch/pytorch/issues/131662", systems="w"),
    S("win-vcredist", r"(?:VCRUNTIME140(?:_1)?|MSVCP140(?:_\d)?)\.dll[^\n]{0,80}", "pytorch/pytorch/issues/32916", Weight.LIKELY, "w"),
    S("win-app-control", r"WinError 4551\b|os error 4551\b", "pytorch/pytorch/issues/182008", systems="w"),
    S("win-app-control", r"0x800711C7", "Rem0o/FanControl.Releases/issues/3201", systems="w"),
    S("win-app-control", r"Application Control policy has blocked", "LykosAI/StabilityMatrix/issues/1712", systems="w"),
    S("win-paging-file", r"paging file is too small", "thu-ml/tianshou/issues/297"),
    S("win-paging-file", r"WinError 1455\b|error code:? <?1455\b|os error 1455\b", "thu-ml/tianshou/issues/297", systems="w"),
    S("omp-duplicate", r"OMP: Error #15", "pytorch/pytorch/issues/78490"),
    S("omp-duplicate", r"multiple copies of the OpenMP runtime have been linked", "printed by the OpenMP runtime"),
    S("omp-duplicate", r"Initializing \S*omp\S*, but found", "pytorch/pytorch/issues/78490"),
    S("omp-duplicate", r"KMP_DUPLICATE_LIB_OK", "harry0703/MoneyPrinterTurbo/issues/90", Weight.LIKELY),
    S("conda-channel-mix", r"The environment is inconsistent, please check the package plan", "printed by conda", Weight.LIKELY),
    # 5. Driver and GPU
    S("driver-not-loaded", r"Key was rejected by service", "canonical/nvidia-graphics-drivers/issues/62", systems="l"),
    S("driver-not-loaded", r"driver=nouveau|Kernel driver in use: nouveau", "printed by lspci, lshw", systems="l"),
    S("driver-not-loaded", r"nvml error: driver not loaded", "printed by nvidia-container-cli", systems="l"),
    S("driver-not-loaded", r"modprobe: (?:FATAL|ERROR):[^\n]{0,40}\bnvidia\b", "printed by modprobe", systems="l"),
    S("driver-too-old", r"NVIDIA driver on your system is too old", "lllyasviel/Fooocus/issues/1313"),
    S("driver-too-old", r"CUDA driver version is insufficient for CUDA runtime version|cudaErrorInsufficientDriver|\berror[ =:]*35\b"
      r"[^\n]{0,40}driver", "printed by the CUDA runtime"),
    S("driver-too-old", r"unsatisfied condition: (?:cuda|driver)\s*>=", "printed by nvidia-container-cli"),
    S("driver-ptx-too-old", r"PTX was comp(?:iled|lied) with an unsupported toolchain|cudaErrorUnsupportedPtxVersion|CUDA_ERROR_UNSUPPORTED_PTX_VERSION",
      "pytorch/pytorch/issues/146056"),
    S("nvml-version-mismatch", r"Driver/library version mismatch|driver\s*/\s*library version mismatch",
      "YoshitakaMo/localcolabfold/issues/127", systems="l"),
    S("nvml-version-mismatch", r"NVML_ERROR_LIB_RM_VERSION_MISMATCH|RmVersionMismatch|API mismatch: the client has the version",
      "printed by NVML", systems="l"),
    S("fabric-manager", r"\berror\s*[=:(]?\s*\(?802\)?\b|error \(802\)|code=802\b", "pytorch/pytorch/issues/35710"),
    S("fabric-manager", r"system not yet initialized|cudaErrorSystemNotReady|CUDA_ERROR_SYSTEM_NOT_READY",
      "microsoft/lisa/issues/2823"),
    S("gpu-hardware-fault", r"\bXid\s*(?:\([^)\n]{0,60}\))?\s*[:=]?\s*(?:48|63|64|79|94|95)\b", "NVIDIA/open-gpu-kernel-modules/issues/1151"),
    S("gpu-hardware-fault", r"fallen off the bus", "NVIDIA/open-gpu-kernel-modules/issues/1151"),
    S("gpu-hardware-fault", r"uncorrectable (?:NVLink error|ECC error)|cudaErrorECCUncorrectable|double[- ]bit ECC error", "printed by the CUDA runtime"),
    S("gpu-hardware-fault", r"GPU is lost|Unable to determine the device handle for GPU", "printed by nvidia-smi"),
    # 6. Shared libraries
    S("library-path-conflict", r"cuDNN version incompatibility: PyTorch was compiled\s+against",
      "bmaltais/kohya_ss/issues/1096"),
    S("library-path-conflict", r"undefined symbol: (?:__nvJitLink|_{0,2}nvJitLink|__cuda_|cublas|cusparse|cusolver|cufft|nvrtc|nccl|cudnn|"
      r"__cudnn|cupti|cudaGet|cudaGraph|_Z\d+cudnn)\w*", "pytorch/pytorch/issues/111469", systems="l"),
    S("library-path-conflict", r"libcudnn\w*\.so[.\d]*: undefined symbol|Invalid handle\. Cannot load symbol cudnn\w+", "DepthAnything/Depth-Anything-V2/issues/54"),
    S("library-path-conflict", r"undefined symbol: \w+, version lib(?:cublas\w*|cusparse|cusolver|nvJitLink|nccl)\.so", "pytorch/pytorch/issues/88882",
      systems="l"),
    S("nvidia-deps-broken", r"lib\w+\.so[^\n]{0,20} not found in the system path", "finic-ai/rag-stack/issues/44"),
    S("nvidia-deps-broken", r"\btorch \S+ requires (?:nvidia|triton)[\w-]*[^\n]{0,80}(?:which is not installed|but you have)",
      "printed by pip"),
    S("libstdcxx-too-old", r"version [`'‘\"]?(?:GLIBCXX_3\.\d+\.\d+)['’\"]? not found", "pytorch/pytorch/issues/87279", systems="l"),
    S("libstdcxx-too-old", r"version [`'‘\"]?CXXABI_\d[\d.]*['’\"]? not found", "pytorch/pytorch/issues/115138", systems="l"),
    S("mkl-ijit", r"undefined symbol: iJIT_\w+", "pytorch/pytorch/issues/123097"),
    S("cudnn-init-failed", r"CUDNN_STATUS_NOT_INITIALIZED", "invoke-ai/InvokeAI/issues/25"),
    # 7. Companions, NumPy, torch.compile
    S("companion-mismatch", r"operator torchvision::\w+ does not exist|Couldn't load custom C\+\+ ops", "vladmandic/sdnext/issues/3531"),
    S("companion-mismatch", r"Could not run 'torchvision::\w+' with arguments from the '(?:CUDA|HIP|XPU)' backend", "printed by torch"),
    S("companion-mismatch", r"module 'torchvision' has no attribute 'extension'", "pytorch/vision/issues/8985"),
    S("companion-mismatch", r"could not be located in the dynamic link library[^\n]{0,200}(?:torchvision|torchaudio)", "printed by torchaudio", systems="w"),
    S("companion-mismatch", r"No such operator torch(?:vision|audio)::", "printed by torch"),
    S("companion-mismatch", r"^\s*(?:Because )?torch(?:vision|audio)\S* \S* ?depends on torch==[^\n]{0,300}|The user requested torch==[^\n]*\n\s*torch(?:vision|audio) \S+ depends on torch==", "printed by pip, uv",
      unless=r"there is no version of torch|were? not found"),
    S("companion-mismatch", r"compiled with different CUDA (?:major )?versions", "mli/autocut/issues/106"),
    S("companion-mismatch", r"(?:Symbol not found|undefined symbol):? _?torch_library_impl", "TaterTotterson/microWakeWord-Trainer-AppleSilicon/pull/16"),
    S("companion-mismatch", r"(?:torchvision[\\/](?:_C|image)|torchaudio[\\/]lib[\\/]|libtorchaudio|_torchaudio|torchtext[\\/]lib)[^\n]{0,120}undefined symbol",
      "xuhuisheng/rocm-gfx803/issues/15"),
    S("companion-mismatch", r"Symbol not found:[^\n]{0,200}\n?[^\n]{0,200}(?:torchvision|torchaudio)", "printed by torchaudio"),
    S("companion-mismatch", r"WinError 127\b[^\n]{0,300}(?:torchaudio|torchvision)|(?:torchaudio|torchvision)[^\n]{0,200}WinError 127\b", "printed by torchaudio", systems="w"),
    S("companion-mismatch", r"libtorch_cuda(?:_cu|_cpp)?\.so: cannot open shared object", "printed by ld.so", Weight.LIKELY),
    S("companion-mismatch", r"Could not load this library: [^\n]{0,200}(?:libtorchaudio|torchaudio[\\/]lib)", "printed by torchaudio", Weight.LIKELY),
    S("extension-abi-mismatch", r"xFormers was built for|xFormers can't load C\+\+/CUDA extensions", "invoke-ai/InvokeAI/issues/6590"),
    S("extension-abi-mismatch", r"xFormers wasn't buil[dt] with CUDA support", "invoke-ai/InvokeAI/issues/6590", Weight.LIKELY),
    S("extension-abi-mismatch", r"DLL load failed while importing (?:flash_attn\w*|_C_flashattention\w*|xformers\w*|causal_conv1d\w*|mamba\w*|"
      r"bitsandbytes\w*|sageattention\w*|_qattn\w*|_fused|pytorch3d\w*|_?mmcv\w*|_ext|detectron2\w*|nvdiffrast\w*|gsplat\w*|torch_scatter\w*|torch_sparse\w*|deepspeed\w*)",
      "printed by Python, importing an extension", systems="w"),
    S("extension-abi-mismatch", r"detected CUDA version \([\d.]+\) mismatches the version that was used to compile",
      "printed by torch.utils.cpp_extension", Weight.LIKELY),
    S("torchcodec-load", r"Could not load libtorchcodec|libtorchcodec\w*\.(?:so|dylib|dll)", "SWivid/F5-TTS/issues/1235"),
    S("torchcodec-load", r"TorchCodec is required for|please install 'torchcodec'|torchcodec is not installed correctly|No module named 'torchcodec'",
      "meta-pytorch/torchcodec/issues/795", Weight.LIKELY),
    S("torchcodec-load", r"lib(?:avutil|avcodec|avformat|avfilter|avdevice|swresample|swscale)\.(?:so\.\d+|\d+\.dylib): cannot open shared", "pavelzbornik/whisperX-FastAPI/issues/465",
      Weight.LIKELY),
    S("numpy2-abi", r"compiled using NumPy 1\.x cannot be run in", "pytorch/pytorch/issues/131668"),
    S("numpy2-abi", r"_ARRAY_API not found", "printed by NumPy", Weight.LIKELY),
    S("numpy2-abi", r"numpy\.dtype size changed, may indicate binary incompatibility\. Expected 96 from C header, got 88",
      "printed by NumPy", Weight.SUGGESTED),
    S("numpy-missing-or-old", r"module compiled against (?:API|ABI) version", "danielgatis/rembg/issues/212"),
    S("numpy-missing-or-old", r"No module named 'numpy\._core", "printed by NumPy", Weight.LIKELY),
    S("numpy-missing-or-old", r"No module named '?numpy(?:'|\b)(?!\.)", "printed by Python"),
    S("compile-no-triton", r"Cannot find a working triton installation|TritonMissing", "Motphys/MotrixLab/issues/28"),
    S("win-vcredist", r"DLL load failed while importing libtriton", "woct0rdho/triton-windows/issues/113", Weight.LIKELY, "w"),
    S("compile-no-triton", r"DLL load failed while importing libtriton", "woct0rdho/triton-windows/issues/113", Weight.SUGGESTED, "w"),
    S("compile-no-triton", r"cannot import name '\w+' from 'triton\.\w[\w.]*'", "printed by Python, importing Triton", Weight.LIKELY),
    S("compile-no-triton", r"No module named '?triton(?:'|\.)", "printed by Python, the linker", Weight.LIKELY, unless=r"matching Triton is not available"),
    S("compile-no-msvc", r"Compiler: cl is not found", "pytorch/pytorch/issues/157458", systems="w"),
    S("compile-no-msvc", r"Error checking compiler version for cl\b|'cl' (?:is not recognized|n'est pas reconnu)|where', 'cl'", "printed by torch.utils.cpp_extension",
      Weight.LIKELY, "w"),
    S("compile-no-python-headers", r"['\"]?\bPython\.h\b['\"]?:? ?(?:No such file|not found|file not found|: )|include file '?\"?Python\.h", "daydreamlive/scope/issues/84"),
    S("compile-no-python-headers", r"pyconfig\.h['\"]?:? ?(?:No such file|not found|file not found)", "printed by the C compiler"),
    S("compile-no-python-headers", r"Failed to find Python libs", "woct0rdho/triton-windows/issues/113"),
    S("compile-no-python-headers", r"(?:LNK1104|cannot (?:open|find)[^\n]{0,20})[^\n]{0,40}-?l?python3\d*(?:\.lib)?|library 'python3\d+' not found", "printed by Python, the linker", Weight.LIKELY),
    S("compile-ptxas-version", r"Unsupported \.version \d[\d.]*;? current version is", "triton-lang/triton/issues/5929"),
    S("compile-ptxas-version", r"ptxas fatal[^\n]{0,40}Value 'sm_\w+' is not defined for option 'gpu-name'", "printed by ptxas"),
    S("compile-ptxas-version", r"Triton only support CUDA 10\.0 or higher, but got CUDA version", "woct0rdho/triton-windows/issues/49", Weight.LIKELY),
    # 8. Containers, WSL, data loading
    S("docker-no-toolkit", r"could not select device driver", "printed by docker"),
    S("docker-no-toolkit", r"[Uu]nknown (?:or invalid )?runtime (?:name:? |specified )\"?nvidia|unknown runtime[^\n]{0,20}nvidia", "printed by docker"),
    S("docker-no-toolkit", r"unresolvable CDI devices|nvidia-container-runtime[^\n]{0,60}(?:executable file not found|no such file)", "NVIDIA/nvidia-container-toolkit/issues/182", Weight.LIKELY),
    S("cuda-forward-compat", r"\berror\s*[=:(]?\s*\(?804\)?\b|failure 804\b", "oobabooga/textgen/issues/4407"),
    S("cuda-forward-compat", r"forward compatibility was attempted on non supported HW|cudaErrorCompatNotSupportedOnDevice", "NVIDIA/nvidia-docker/issues/1294"),
    S("gpu-not-visible", r"NVML: Insufficient Permissions", "printed by nvidia-smi", systems="l"),
    S("gpu-not-visible", r"GPU access blocked by the operating system", "microsoft/WSL/issues/9938", systems="l"),
    S("gpu-not-visible", r"Failed to initialize NVML: Unknown Error", "printed by nvidia-smi", systems="l"),
    S("driver-missing", r"nvidia-container-cli: [^\n]{0,60}load library failed: libnvidia-ml\.so\.1", "printed by nvidia-container-cli", Weight.LIKELY, "l"),
    S("shm-too-small", r"killed by signal: Bus error|[Bb]us error encountered in worker|\bSIGBUS\b", "pytorch/pytorch/issues/16979"),
    S("shm-too-small", r"insufficient shared memory", "pytorch/pytorch/issues/16979"),
    S("shm-too-small", r"unable to (?:write to|mmap|resize|allocate)[^\n]{0,80}</?torch_[^\n]{0,80}(?:No space left|\(28\)|Cannot allocate)", "printed by torch"),
    S("shm-too-small", r"creating shared memory segment[^\n]{0,80}", "printed by NCCL", Weight.LIKELY),
    S("shm-too-small", r"/dev/shm[^\n]{0,120}No space left|No space left[^\n]{0,120}/dev/shm", "printed by NCCL"),
    S("dataloader-spawn-guard", r"start a new process before the\s+current process", "Project-MONAI/tutorials/issues/631"),
    S("dataloader-spawn-guard", r"freeze_support\(\)", "printed by Python, multiprocessing", Weight.LIKELY, "wm"),
    # 9. AMD, Intel, Apple
    S("rocm-permission", r"Unable to open /dev/kfd|/dev/kfd[^\n]{0,40}[Pp]ermission denied|[Pp]ermission denied[^\n]{0,40}/dev/kfd|not member of \"?render\"? group", "printed by rocminfo", systems="l"),
    S("xpu-missing-runtime-dll", r"\b(?:c10_xpu|backend_with_compiler|intel-ext-pt-\w+|torch_xpu|esimd_kernels)\.dll", "pytorch/pytorch/issues/138986", systems="w"),
    S("xpu-missing-runtime-dll", r"lib(?:sycl|ze_loader|mkl_sycl\w*|intel-ext-pt-\w+|ur_loader)\.so[.\d]*: cannot open shared object", "printed by ld.so", Weight.LIKELY, "l"),
    # 10. General
    S("verify-failed", r"\"verdict\": \"fail\"", "torchcheck"),
)  # fmt: skip


class Ambiguous(NamedTuple):
    """An error text with several causes: who the candidates are, and the command whose answer decides.

    `windows` is the command for Windows, where another one is due; "" there when it is the same.
    """

    pattern: str
    candidates: tuple[str, ...]
    decide: str
    windows: str = ""


# The watchdog's and the GPU's events; it works in PowerShell and in cmd.
EVENTS: Final = "powershell -NoProfile -Command \"Get-WinEvent -LogName System -MaxEvents 500 | Where-Object ProviderName -match 'nvlddmkm|Display'\""


A = Ambiguous
AMBIGUOUS: Final = (
    A(r"\(from versions: none\)",
      ("no-wheel-32bit-python", "no-wheel-for-python", "network-unreachable", "ssl-proxy-ca", "index-server-fault", "wrong-index", "pip-too-old"),
      '{py} -c "import struct, sys, platform; print(sys.version, struct.calcsize(\'P\') * 8, platform.machine())"'),
    A(r"Could not find a version that satisfies the requirement (?:torch|torchvision|torchaudio)\b",
      ("no-wheel-for-python", "no-wheel-32bit-python", "wrong-index", "pip-too-old"),
      '{py} -c "import struct, sys, platform; print(sys.version, struct.calcsize(\'P\') * 8, platform.machine())"'),
    A(r"doesn't have a source distribution or wheel for the current platform",
      ("no-wheel-for-python", "uv-resolution", "no-wheel-arch", "no-wheel-macos-intel", "no-wheel-musl"),
      '{py} -c "import sysconfig, sys; print(sysconfig.get_platform(), sys.version)"'),
    A(r"is not a supported wheel on this platform",
      ("no-wheel-for-python", "no-wheel-32bit-python", "no-wheel-arch", "pip-too-old"), "{py} -m pip debug --verbose"),
    A(r"Unable to find installation candidates for torch", ("no-wheel-for-python", "no-wheel-macos-intel", "no-wheel-arch", "wrong-index"),
      '{py} -c "import sysconfig, sys; print(sysconfig.get_platform(), sys.version)"'),
    A(r"libnvidia-ml\.so\.1: cannot open shared object file", ("driver-missing", "gpu-not-visible", "docker-no-toolkit"), "nvidia-smi   (on the host)"),
    A(r"No HIP GPUs are available", ("rocm-permission", "gpu-not-visible", "cuda-visible-devices", "no-gpu"), "ls -l /dev/kfd /dev/dri; id"),
    A(r"DataLoader worker \(pid\S* [\d, ]+\) exited unexpectedly", ("shm-too-small", "dataloader-spawn-guard", "win-paging-file"), "df -h /dev/shm; sudo dmesg | tail", "systeminfo"),
    A(r"Torch is not able to use GPU", ("cpu-wheel-on-gpu-box", "driver-missing", "driver-too-old", "backend-mismatch", "no-gpu"),
      '{py} -c "import torch; print(torch.__version__, torch.version.cuda); torch.cuda.init()"'),
    A(r"Found no NVIDIA driver", ("driver-missing", "gpu-not-visible", "driver-not-loaded", "no-gpu"), "nvidia-smi"),
    A(r"No CUDA GPUs are available",
      ("cuda-visible-devices", "gpu-not-visible", "no-gpu", "driver-not-loaded"), "nvidia-smi -L"),
    A(r"no CUDA-capable device is detected",
      ("cuda-visible-devices", "gpu-not-visible", "no-gpu", "driver-not-loaded"), "nvidia-smi -L"),
    A(r"all CUDA-capable devices are busy or unavailable",
      ("gpu-memory-held", "gpu-not-visible", "driver-too-old", "driver-not-loaded", "mig"), "nvidia-smi"),
    A(r"no kernel image is available|cudaErrorNoKernelImageForDevice",
      ("gpu-arch-too-new", "gpu-arch-dropped", "extension-abi-mismatch", "driver-ptx-too-old", "broken-wheel"),
      '{py} -c "import torch; print(torch.__version__, torch.cuda.get_arch_list(), torch.cuda.get_device_capability())"'),
    A(r"unspecified launch failure",
      ("gpu-hardware-fault", "cuda-unknown-after-suspend", "verify-failed"), "sudo dmesg | grep -i xid", EVENTS),
    A(r"an illegal memory access was encountered",
      ("gpu-hardware-fault", "extension-abi-mismatch", "verify-failed"), "torchcheck verify --device cuda"),
    A(r"CUDA unknown error|CUDA error: unknown error",
      ("cuda-unknown-after-suspend", "gpu-not-visible", "driver-not-loaded"), "ls -l /dev/nvidia-uvm; sudo dmesg | grep -i nvidia | tail", "nvidia-smi"),
    A(r"the launch timed out and was terminated", ("win-tdr", "gpu-hardware-fault"), "sudo dmesg | grep -i xid", EVENTS),
    A(r"Torch not compiled with CUDA enabled",
      ("cpu-wheel-on-gpu-box", "conda-cpu-build", "no-gpu"), '{py} -c "import torch; print(torch.__version__, torch.version.cuda)"'),
    A(r"Numpy is not available", ("numpy2-abi", "numpy-missing-or-old"), '{py} -c "import numpy; print(numpy.__version__)"'),
    A(r"DO NOT MATCH THE HASHES",
      ("download-interrupted", "pip-cache-corrupt", "index-server-fault"), "{pip} install --no-cache-dir torch"),
    A(r"WinError 126\b", ("win-vcredist", "win-dll-load-failed"), "where.exe vcruntime140_1.dll msvcp140.dll   (both must be found)"),
    A(r"CUDA out of memory|HIP out of memory|CUDA error: out of memory", ("gpu-memory-held",), "nvidia-smi"),
    A(r"\[Errno 12\]|DefaultCPUAllocator: (?:not enough|can't allocate) memory", ("shm-too-small", "pip-memoryerror"), "free -h; df -h /dev/shm", "systeminfo"),
    A(r"^\s*(?:\S+:\s*line \d+:\s*\d+\s*)?Killed\b", ("pip-memoryerror", "torch-import-crash"), "sudo dmesg | grep -i 'killed process'"),
    A(r"Segmentation fault|segfault|\bSIGSEGV\b|0xC0000005|-1073741819\b|\b3221225477\b",
      ("torch-import-crash", "library-path-conflict"), '{py} -X faulthandler -c "import torch"'),
    A(r"undefined symbol", ("extension-abi-mismatch", "companion-mismatch", "library-path-conflict", "duplicate-install"), "{pip} list"),
    A(r"lib(?:c10|torch|cu|nv|nccl|hip|roc|amd|mkl|iomp|sycl|ze_)\w*\.so[.\d]*: cannot open shared object file",
      ("nvidia-deps-broken", "companion-mismatch", "extension-abi-mismatch", "library-path-conflict"), "{pip} check"),
    A(r"(?:torch\.)?cuda\.is_available(?:\(\))?[^\n]{0,20}\n?[^\n]{0,10}\bFalse\b",
      ("cpu-wheel-on-gpu-box", "driver-missing", "driver-too-old", "gpu-not-visible", "cuda-visible-devices", "no-gpu"),
      '{py} -c "import torch; print(torch.__version__, torch.version.cuda); torch.cuda.init()"'),
)  # fmt: skip

# What shows that a text speaks of a failure at all: a notice about a newer pip, or a FutureWarning, does not.
FAILURE: Final = (
    r"Traceback \(most recent call last\)|\b\w*(?:Error|Exception)\b\s*[:(\]]|\berror\b\s*[:\[(]|\bERROR\b|\bfatal\b|WinError|\[Errno|"
    r"Segmentation fault|core dumped|Illegal instruction|\bKilled\b|Abort trap|\bfailed\b|\bcannot\b|could not (?!collect)|not found\b|"
    r"terminate called after|\bbad_alloc\b|undefined symbol|not available|no longer support|is not compatible|unable to|insufficient|mismatch|timed out|\bXid\b"
)
