"""witness.py -- what every fixture shares: configurations as text, weights, evaluation in f32 and f64, files.

A fixture is a folder: fixture.json (configuration, versions, errors), weights.safetensors (f16, the authors' key names),
and .npy arrays (float32, PyTorch's layouts). Outputs are the f64 evaluation rounded to f32; beside each stands the error
that PyTorch's own f32 evaluation makes against it, from which the tests derive their tolerance.
"""
import json
import math
import os

import numpy as np
import torch
from safetensors.torch import save_file

torch.set_grad_enabled(False)


def parse(config):
    """"ch_mult=1,2 num_heads=4" -> {"ch_mult": [1, 2], "num_heads": 4}. Keys that are lists in the authors' yaml stay lists."""
    lists = {"channel_mult", "attention_resolutions", "ch_mult", "attn_resolutions", "disable_self_attentions"}
    out = {}
    for item in config.split():
        key, value = item.split("=", 1)
        if key in lists:
            out[key] = [int(v) for v in value.split(",") if v]
        else:
            out[key] = int(value) if value.lstrip("-").isdigit() else value
    return out


def timestep_embedding(t, dim):
    """ldm/modules/diffusionmodules/util.py: timestep_embedding, in f64 throughout (theirs computes frequencies in f32)."""
    half = dim // 2
    f = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64) / half)
    a = t.double()[:, None] * f[None]
    e = torch.cat([torch.cos(a), torch.sin(a)], dim=-1)
    return torch.cat([e, torch.zeros_like(e[:, :1])], dim=-1) if dim % 2 else e


def make_weights(shapes, seed, gains=None):
    """Untrained weights with activations of order one: weights normal with deviation gain / sqrt(fan-in), biases 0.1,
    norm scales 1 +- 0.2, all exactly representable in f16. `gains`: [(part of the name, gain)], the first match counts."""
    out = {}
    g = torch.Generator().manual_seed(seed)
    for name in sorted(shapes):
        shape = shapes[name]
        noise = torch.randn(shape, generator=g, dtype=torch.float64)
        if name.endswith(("embedding.weight", "emb.weight", "positional_embedding")):
            w = noise
        elif len(shape) == 1:
            norm = is_norm(name, shapes)
            w = 1 + 0.2 * noise if norm and name.endswith("weight") else 0.1 * noise
        else:
            fan_in = math.prod(shape[1:])
            gain = next((v for part, v in gains or [] if part in name), 1.0)
            w = noise * gain / math.sqrt(fan_in)
        out[name] = w.half()
    return out


def is_norm(name, shapes):
    return len(shapes.get(name[: name.rindex(".")] + ".weight", [0, 0])) == 1


class DoubleFloat:
    """Within it Tensor.float() means double(): the authors' blocks force f32 inside norms and softmaxes."""

    def __enter__(self):
        self.old = torch.Tensor.float
        torch.Tensor.float = lambda t: t.double()

    def __exit__(self, *_):
        torch.Tensor.float = self.old


def photo(path, height, width, row=0, col=0, shrink=1):
    """[1, 3, height, width] in [-1, 1], cut out of a picture that was shrunk by whole-box averaging first."""
    from PIL import Image

    a = np.asarray(Image.open(path).convert("RGB"), dtype=np.float64)
    a = a[row : row + height * shrink, col : col + width * shrink]
    a = a.reshape(height, shrink, width, shrink, 3).mean(axis=(1, 3))
    return torch.from_numpy(a / 127.5 - 1).permute(2, 0, 1)[None].float().double()


PLAIN_RUNS = 5


def nudged(x, seed):
    """x as f32, PLAIN_RUNS times: as it is, then moved by up to half an ulp. One f32 evaluation is one draw of its rounding
    errors, and the largest of them has a long tail; the worst of a few is what a correct evaluation may show."""
    g = torch.Generator().manual_seed(seed)
    yield x.float()
    for _ in range(PLAIN_RUNS - 1):
        yield (x.double() * (1 + 2.0**-24 * (2 * torch.rand(x.shape, generator=g, dtype=torch.float64) - 1))).float()


def errors(plain, y64):
    """plain: f32 results of the same thing."""
    e = [(y.double() - y64).abs() for y in plain]
    return {"peak": y64.abs().max().item(), "f32_max_error": max(v.max().item() for v in e),
            "f32_mean_error": max(v.mean().item() for v in e)}


def errors_by_step(plain, x64, prefix):
    """The same of trajectories: a list for each of what `errors` gives, one number a step."""
    steps = [errors([p[i] for p in plain], x) for i, x in enumerate(x64)]
    return {prefix + k: [s[k] for s in steps] for k in ("f32_max_error", "f32_mean_error")}


class Fixture:
    def __init__(self, root, name, network, config, made_by):
        self.dir = os.path.join(root, name)
        self.info = {"name": name, "network": network, "config": config, "weights": None, "made_by": made_by, "runs": []}
        os.makedirs(self.dir, exist_ok=True)
        for old in os.listdir(self.dir):
            os.remove(os.path.join(self.dir, old))

    def weights(self, state):
        self.info["weights"] = "weights.safetensors"
        save_file({k: v.contiguous() for k, v in state.items()}, os.path.join(self.dir, "weights.safetensors"))

    def array(self, name, tensor):
        np.save(os.path.join(self.dir, name + ".npy"), tensor.detach().contiguous().numpy().astype(np.float32))
        return name + ".npy"

    def run(self, part, inputs, plain, y64, **more):
        """One evaluation of `part` (unet, encoder, decoder); inputs: name -> tensor."""
        n = str(len(self.info["runs"]))
        run = {"part": part, "inputs": {k: self.array(f"{part}{n}_{k}", v) for k, v in inputs.items()}}
        run["output"] = self.array(f"{part}{n}_y", y64)
        run.update(errors(plain, y64))
        run.update(more)
        self.info["runs"].append(run)

    def save(self):
        with open(os.path.join(self.dir, "fixture.json"), "w") as f:
            json.dump(self.info, f, indent=1)
            f.write("\n")
        size = sum(os.path.getsize(os.path.join(self.dir, p)) for p in os.listdir(self.dir))
        for r in self.info["runs"]:
            worst = lambda key: max(r[key]) if isinstance(r[key], list) else r[key]
            print(f'{self.info["name"]:16} {r["part"]:10} f32 error max {worst("f32_max_error"):.2e} mean {worst("f32_mean_error"):.2e}')
        print(f'{self.info["name"]:16} {size / 1e6:.2f} MB')
