"""full_size.py -- full-size networks once: an LDM-8 UNet step, vq-f4 and kl-f8 encoding and decoding of a 256 x 256
photograph, by `ldm run` on the device and by PyTorch, with the same synthetic weights (written by the tool). Takes minutes
and 10 GB; not part of the test suite.

    .venv/bin/python tests/oracle/full_size.py [--ldm ./ldm] [--only unet] -o results/witness_full_size.json

A result passes if its largest error against PyTorch's f64 evaluation is at most twice that of PyTorch's f32 evaluation,
plus 1e-6 of the peak. f16 storage is reported, not judged.
"""
import argparse
import datetime
import gc
import json
import os
import platform
import subprocess
import tempfile

import diffusers
import numpy as np
import torch
from safetensors.torch import load_file

import nets_diffusers as hf
from witness import parse, photo

UNET = ("cin-ldm-8", "in_channels=4 out_channels=4 model_channels=256 channel_mult=1,2,4 num_res_blocks=2 "
        "attention_resolutions=1,2,4 num_heads=1 use_spatial_transformer=1 transformer_depth=1 context_dim=512")
STAGES = {
    "vq-f4": "kind=vq z_channels=3 embed_dim=3 n_embed=8192 ch=128 ch_mult=1,2,4 num_res_blocks=2",
    "kl-f8": "kind=kl z_channels=4 embed_dim=4 ch=128 ch_mult=1,2,4,4 num_res_blocks=2",
}
SEED = 20


def strip(state):
    """The tool's file holds a whole system's names or a part's; the witness wants the part's."""
    for prefix in ("model.diffusion_model.", "first_stage_model."):
        state = {k[len(prefix):] if k.startswith(prefix) else k: v for k, v in state.items()}
    return state


class Judge:
    def __init__(self, tool, folder):
        self.tool, self.folder, self.results = tool, folder, []

    def weights(self, part, config):
        """The synthetic weights of a part, as the tool writes them, under the part's own names."""
        path = os.path.join(self.folder, "weights.safetensors")
        subprocess.run([self.tool, "run", part, "--config", config, "--synthetic", str(SEED), "--save-weights", path], check=True)
        return strip(load_file(path))

    def ours(self, part, config, inputs, dtype):
        args = [self.tool, "run", part, "--config", config, "--synthetic", str(SEED), "--dtype", dtype]
        for name, value in inputs.items():
            path = os.path.join(self.folder, name + ".npy")
            np.save(path, value.numpy().astype(np.float32))
            args += ["--in", f"{name}={path}"]
        out = os.path.join(self.folder, "y.npy")
        subprocess.run(args + ["--out", out], check=True)
        return torch.from_numpy(np.load(out)).double()

    def compare(self, name, config, part, inputs, witness):
        """witness(dtype) -> output; called after the tool, one precision at a time."""
        y = {"f32": self.ours(part, config, inputs, "f32"), "f16": self.ours(part, config, inputs, "f16")}
        t32 = witness(torch.float32).double()
        gc.collect()
        t64 = witness(torch.float64)
        gc.collect()
        peak = t64.abs().max().item()
        plain = (t32 - t64).abs().max().item()
        error = (y["f32"] - t64).abs()
        bound = 2 * plain + 1e-6 * peak
        r = {
            "network": name, "config": config, "part": part, "output_shape": list(t64.shape), "peak": peak,
            "max_abs_error": error.max().item(), "mean_abs_error": error.mean().item(),
            "max_error_of_peak": error.max().item() / peak,
            "max_abs_difference_from_torch_f32": (y["f32"] - t32).abs().max().item(),
            "torch_f32_max_abs_error": plain, "torch_f32_mean_abs_error": (t32 - t64).abs().mean().item(),
            "bound": bound, "pass": error.max().item() <= bound,
            "f16_max_abs_error": (y["f16"] - t64).abs().max().item(),
            "f16_max_error_of_peak": (y["f16"] - t64).abs().max().item() / peak,
        }
        print(f'{name:14} max error {r["max_abs_error"]:.2e} of peak {peak:.3g}, allowed {bound:.2e} '
              f'({"pass" if r["pass"] else "FAIL"}); f16 {r["f16_max_abs_error"]:.2e}', flush=True)
        self.results.append(r)
        return t64


def unet(j):
    config, text = UNET
    g = torch.Generator().manual_seed(1)
    x, context = torch.randn(1, 4, 32, 32, generator=g), torch.randn(1, 1, 512, generator=g)
    t = torch.tensor([321.0])
    inputs = {"x": x, "t": t, "context": context}
    state = j.weights("unet", config)
    c = parse(text)
    j.compare("LDM-8 UNet", config, "unet", inputs, lambda d: hf.unet(c, state, d)(x, t, context=context))


def stage(j, name, photograph):
    c = parse(STAGES[name])
    x = photo(photograph, 256, 256, 10, 100)
    state = {**j.weights("encoder", name), **j.weights("decoder", name)}
    latent = j.compare(name + " encoder", name, "encoder", {"x": x}, lambda d: hf.autoencoder(c["kind"], c, state, d)[0](x))
    z = latent[:, : c["z_channels"]].float()
    if c["kind"] == "vq":  # where two codewords are equally near, f32 may take either: step onto the nearest one there
        book = state["quantize.embedding.weight"].double()
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]).double()
        near = (torch.cdist(flat, book) ** 2).topk(2, largest=False)
        tie = near.values[:, 1] - near.values[:, 0] < 1e-4
        print(f"{name}: {tie.sum().item()} of {len(tie)} pixels moved off a tie")
        flat[tie] = book[near.indices[tie, 0]]
        z = flat.reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2).contiguous().float()
    j.compare(name + " decoder", name, "decoder", {"z": z}, lambda d: hf.autoencoder(c["kind"], c, state, d)[1](z))


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ldm", default=os.path.join(root, "ldm"))
    p.add_argument("--photo", default=os.path.join(root, "tests", "data", "photos", "astronaut.png"))
    p.add_argument("--only", choices=["unet", "vq-f4", "kl-f8"], help="one of them; other results in the file are kept")
    p.add_argument("-o", "--out", default=os.path.join(root, "results", "witness_full_size.json"))
    a = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        j = Judge(a.ldm, folder)
        for name in ("unet", "vq-f4", "kl-f8"):
            if a.only in (None, name):
                unet(j) if name == "unet" else stage(j, name, a.photo)
    git = lambda *args: subprocess.run(["git", "-C", root, *args], capture_output=True, text=True).stdout.strip()
    device = subprocess.run([a.ldm, "devices"], capture_output=True, text=True).stdout.strip().splitlines()
    kept = []
    if a.only and os.path.exists(a.out):
        with open(a.out) as f:
            kept = [r for r in json.load(f)["results"] if r["network"] not in {v["network"] for v in j.results}]
    info = {
        "what": "ldm run on the device against PyTorch with the same synthetic weights; errors are against PyTorch in f64",
        "date": datetime.date.today().isoformat(), "commit": git("rev-parse", "HEAD"), "machine": platform.machine(),
        "devices": device, "torch": torch.__version__, "diffusers": diffusers.__version__, "seed": SEED,
        "results": kept + j.results,
    }
    with open(a.out, "w") as f:
        json.dump(info, f, indent=1)
        f.write("\n")
    raise SystemExit(0 if all(r["pass"] for r in j.results) else 1)


if __name__ == "__main__":
    main()
