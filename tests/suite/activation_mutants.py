"""Spoil every kernel of the activations in turn and see whether their checks notice: run in an interpreter with torch.

Prints one JSON object: {"killed": n, "survived": ["aten::tanh:lane", …]}.
"""

import importlib
import json
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
import torch

from torchcheck.suite import plan, registry, trial

warnings.simplefilter("ignore")  # torch warns of every kernel that is replaced
importlib.import_module("torchcheck.suite.checks.activations")
JOB = {"level": "default", "seed": 0}


def lane(x):
    flat = x.reshape(-1).clone()
    flat[3::1000] *= 1 + 1e-3
    return flat.reshape(x.shape)


def tail(x):
    flat = x.reshape(-1).clone()
    if flat.numel() % 8:
        flat[-(flat.numel() % 8) :] *= 1 + 1e-3
    return flat.reshape(x.shape)


def beyond(x):
    flat = x.reshape(-1).clone()
    flat[32768:] *= 1 + 1e-3
    return flat.reshape(x.shape)


MUTATIONS = {
    "lane": lane,
    "uniform": lambda x: x * (1 + 1e-4),
    "bfloat16": lambda x: x.to(torch.bfloat16).to(x.dtype),
    "tail": tail,
    "beyond": beyond,
}
# Kernels, and what their result is too small for in these checks.
KERNELS = {
    f"aten::{name}": ()
    for name in (  # noqa: SIM905 - as lines of words
        "threshold relu hardtanh hardtanh_backward sigmoid sigmoid_backward hardsigmoid hardsigmoid_backward tanh"
        " tanh_backward silu silu_backward mish mish_backward hardswish hardswish_backward elu elu_backward gelu"
        " gelu_backward hardshrink hardshrink_backward leaky_relu leaky_relu_backward log_sigmoid_forward"
        " log_sigmoid_backward softplus softplus_backward softshrink softshrink_backward threshold_backward"
        " rrelu_with_noise_backward"
    ).split()
} | {
    f"aten::{name}": ("beyond",)
    for name in (  # noqa: SIM905 - as lines of words
        "_prelu_kernel glu glu_backward relu_ tanh.out sigmoid_ gelu.out elu_ silu_backward.grad_input leaky_relu_"
        " softmax.int _softmax _softmax_backward_data _log_softmax _log_softmax_backward_data"
    ).split()
}


def spoiled(kernel, change):
    state = {"busy": False}

    def call(keys, *args, **kwargs):
        result = kernel.call_boxed(keys, *args, **kwargs)
        if state["busy"]:
            return result
        state["busy"] = True
        try:
            parts = [part(x, args, kwargs) for x in (result if isinstance(result, tuple) else (result,))]
        finally:
            state["busy"] = False
        return tuple(parts) if isinstance(result, tuple) else parts[0]

    def part(x, args, kwargs):
        changed = change(x)
        return x.copy_(changed) if any(x is value for value in (*args, *kwargs.values())) else changed

    return call


def noticed(items):
    return any(trial.run(item, torch, JOB)["status"] == "fail" for item in items)


def main():
    torch.set_num_threads(1)
    everything = plan.items(list(registry._checks.values()), ["cpu"])
    killed, survived = 0, []
    for name, out_of_reach in KERNELS.items():
        try:
            kernel = torch.library.get_kernel(name, "CPU")
        except (RuntimeError, AttributeError):
            continue
        words = name.removeprefix("aten::").split(".")[0].strip("_").removesuffix("_backward").removesuffix("_forward")
        stem = words.removesuffix("_kernel").removesuffix("_with_noise").removesuffix("_backward_data")
        near = [item for item in everything if stem in item.check.id]
        for kind, change in MUTATIONS.items():
            if kind in out_of_reach:
                continue
            library = torch.library.Library("aten", "IMPL")
            library.impl(name.removeprefix("aten::"), spoiled(kernel, change), "CPU", with_keyset=True)
            if noticed(near) or noticed(everything):
                killed += 1
            else:
                survived.append(f"{name}:{kind}")
            library._destroy()
    print(json.dumps({"killed": killed, "survived": survived}))


if __name__ == "__main__":
    main()
