"""full_size.py -- full-size networks once: an LDM-8 UNet step, vq-f4 and kl-f8 encoding and decoding of a 256 x 256
photograph, by `ldm run` on the device and by PyTorch, with the same synthetic weights (written by the tool); and Stable
Diffusion 1.5 as a folder that diffusers and transformers wrote with random weights: a prompt's text encoding, one UNet step
of 512 x 512, its decoding. Takes minutes and 16 GB; not part of the test suite.

    .venv/bin/python tests/oracle/full_size.py [--ldm ./ldm] [--only sd15] [--folder DIR] [-o results/witness_full_size.json]
    .venv/bin/python tests/oracle/full_size.py --times --only sd15 --folder DIR      (later, on a quiet machine)

A result passes if its largest error against PyTorch's f64 evaluation is at most twice that of PyTorch's f32 evaluation,
plus 1e-6 of the peak, with --exact (no Winograd). As the tool runs by itself, it may be `winograd_growth` times as much, of
the largest tiles that its plan has: a Winograd tile's products are larger than the sum that they cancel to, and their
roundings with them. Roundings are independent, so their squares add up, and the growth is that of one layer's error; a network
of such layers multiplies no further, since what reaches the output of each layer's error is the same as without Winograd.
f16 storage is reported, not judged.

--times adds, to results that are there, the time of one evaluation in f32 (the better of two) and the most memory that was
resident meanwhile (mapped files are in that), of the tool and of PyTorch in a process of its own, in turns.
"""
import argparse
import datetime
import functools
import gc
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time

import diffusers
import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from transformers import CLIPTextConfig, CLIPTextModel

import nets_diffusers as hf
from witness import parse, photo

UNET = ("cin-ldm-8", "in_channels=4 out_channels=4 model_channels=256 channel_mult=1,2,4 num_res_blocks=2 "
        "attention_resolutions=1,2,4 num_heads=1 use_spatial_transformer=1 transformer_depth=1 context_dim=512")
STAGES = {
    "vq-f4": "kind=vq z_channels=3 embed_dim=3 n_embed=8192 ch=128 ch_mult=1,2,4 num_res_blocks=2",
    "kl-f8": "kind=kl z_channels=4 embed_dim=4 ch=128 ch_mult=1,2,4,4 num_res_blocks=2",
}
SEED = 20


POINTS = {2: [0, 1, -1], 4: [0, 5 / 8, -5 / 8, 3 / 2, -3 / 2], 6: [0, 1 / 2, -1 / 2, 1, -1, 2, -2]}  # and infinity, of m outputs a side


def winograd_growth(m):
    """Of F(m x m, 3x3) on the tool's points, at a tile's output that has the largest: the deviation of what its roundings come to, against
    the same roundings of the direct sum, for filters g and tiles d of independent elements of deviation 1. A place's product
    (G g G^T)(B^T d B) then has the deviation |G_i||G_j||B_i||B_j|, of rows, and counts A_pi A_qj times in output (p, q); a direct
    product has 1, and there are 9. (Roundings in products and transforms; of those in long sums over channels a third.)"""
    points = POINTS[m]
    every, square = np.polynomial.polynomial.polyfromroots(points), lambda row: float(np.sum(np.square(row)))
    growth = np.zeros(m)
    for p in points:
        others = [q for q in points if q != p]
        b, scale = np.polynomial.polynomial.polyfromroots(others), np.prod([p - q for q in others])
        growth += [p ** (2 * k) * square([1 / scale, p / scale, p * p / scale]) * square(b) for k in range(m)]
    growth[-1] += square(every)  # infinity: the last output, the filter's last element
    return float(growth.max() / 3)  # rows and columns each give the root of it, over the root of 9


def strip(state):
    """The tool's file holds a whole system's names or a part's; the witness wants the part's."""
    for prefix in ("model.diffusion_model.", "first_stage_model."):
        state = {k[len(prefix):] if k.startswith(prefix) else k: v for k, v in state.items()}
    return state


class Judge:
    def __init__(self, tool, folder, doing, results=None):
        """doing: "values"; "times" of results that are there; or a network's name, to be run by PyTorch here"""
        self.tool, self.folder, self.doing, self.results = tool, folder, doing, results or []

    def weights(self, part, config):
        """The synthetic weights of a part, as the tool writes them, under the part's own names."""
        path = os.path.join(self.folder, "weights.safetensors")
        subprocess.run([self.tool, "run", part, "--config", config, "--synthetic", str(SEED), "--save-weights", path], check=True)
        return strip(load_file(path))

    def ours(self, part, weights, inputs, dtype):
        """(output, what it took)"""
        args = [self.tool, "run", part, *weights, "--dtype", dtype, *(["--repeat", "2"] if self.doing == "times" else [])]
        for name, value in inputs.items():
            path = os.path.join(self.folder, f"{part}_{name}.npy")
            np.save(path, value.numpy().astype(np.float32))
            args += ["--in", f"{name}={path}"]
        out = os.path.join(self.folder, "y.npy")
        with tempfile.TemporaryFile("w+") as said_file, tempfile.TemporaryFile("w+") as notes_file:
            child, resident = subprocess.Popen(args + ["--out", out], stdout=said_file, stderr=notes_file), 0
            while child.poll() is None:
                try:
                    with open(f"/proc/{child.pid}/status") as f:
                        resident = int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) // 1024
                except (OSError, TypeError):  # it has just ended
                    pass
                time.sleep(0.02)
            said_file.seek(0), notes_file.seek(0)
            said, notes = said_file.read(), notes_file.read()
        if child.returncode:
            raise SystemExit(f"{' '.join(args)}: {notes}")
        took = {"device_memory": re.search(r"device memory: (.*)", notes)[1], "resident_mib": resident}
        if self.doing == "times":
            took["ms"] = min(float(t) for t in re.findall(r"run \d+: ([\d.]+) ms", said))
        return torch.from_numpy(np.load(out)).double(), took

    def compare(self, name, config, part, inputs, witness, weights=None):
        """witness(dtype) -> a function of nothing that evaluates; called after the tool, one precision at a time. weights:
        options of the tool."""
        weights = weights or ["--config", config, "--synthetic", str(SEED)]
        if self.doing != "values":
            return self.time(name, part, inputs, witness, weights)
        y, took = {}, {}
        for how, options in (("f32", []), ("exact", ["--exact"]), ("f16", [])):
            y[how], took[how] = self.ours(part, weights + options, inputs, "f16" if how == "f16" else "f32")
        t32 = witness(torch.float32)().double()
        gc.collect()
        t64 = witness(torch.float64)()
        gc.collect()
        peak = t64.abs().max().item()
        plain = (t32 - t64).abs().max().item()
        error, exact = (y["f32"] - t64).abs(), (y["exact"] - t64).abs()
        bound = 2 * plain + 1e-6 * peak
        tiles = re.findall(r"winograd\w* +OUT=(\d)", subprocess.run([self.tool, "plan", f"{config}:{part}"], stdout=subprocess.PIPE, text=True).stdout)
        growth = winograd_growth(max(map(int, tiles))) if tiles else 1.0
        passed = exact.max().item() <= bound and error.max().item() <= growth * bound
        r = {
            "network": name, "config": config, "part": part, "output_shape": list(t64.shape), "peak": peak,
            "max_abs_error": error.max().item(), "mean_abs_error": error.mean().item(),
            "max_error_of_peak": error.max().item() / peak,
            "max_abs_difference_from_torch_f32": (y["f32"] - t32).abs().max().item(),
            "torch_f32_max_abs_error": plain, "torch_f32_mean_abs_error": (t32 - t64).abs().mean().item(),
            "max_error_of_torch_f32": error.max().item() / plain,
            "exact_max_abs_error": exact.max().item(), "exact_mean_abs_error": exact.mean().item(),
            "exact_max_error_of_torch_f32": exact.max().item() / plain,
            "bound": bound, "winograd_growth": growth, "pass": passed,
            "f16_max_abs_error": (y["f16"] - t64).abs().max().item(),
            "f16_max_error_of_peak": (y["f16"] - t64).abs().max().item() / peak, "took": took,
        }
        print(f'{name:14} max error {r["max_abs_error"]:.2e}, exact {r["exact_max_abs_error"]:.2e} of peak {peak:.3g}, '
              f'allowed {bound:.2e} ({"pass" if r["pass"] else "FAIL"}); f16 {r["f16_max_abs_error"]:.2e}', flush=True)
        self.results.append(r)
        return t64

    def time(self, name, part, inputs, witness, weights):
        if self.doing == "times":
            _, took = self.ours(part, weights, inputs, "f32")
            child = subprocess.run([sys.executable, __file__, "--only", "sd15", "--folder", self.folder, "--by-torch", name], check=True,
                                   capture_output=True, text=True)
            took = {"f32": took, "torch_f32": json.loads(child.stdout.splitlines()[-1])}
            print(name, took, flush=True)
            for r in self.results:
                if r["network"] == name:
                    r["took"].update(took)
        elif self.doing == name:
            run, ms = witness(torch.float32), []
            for _ in range(2):
                start = time.perf_counter()
                run()
                ms.append((time.perf_counter() - start) * 1e3)
            with open("/proc/self/status") as f:
                resident = int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) // 1024
            print(json.dumps({"ms": min(ms), "threads": torch.get_num_threads(), "resident_mib": resident}))


def unet(j):
    config, text = UNET
    g = torch.Generator().manual_seed(1)
    x, context = torch.randn(1, 4, 32, 32, generator=g), torch.randn(1, 1, 512, generator=g)
    t = torch.tensor([321.0])
    inputs = {"x": x, "t": t, "context": context}
    state = j.weights("unet", config)
    c = parse(text)
    j.compare("LDM-8 UNet", config, "unet", inputs, lambda d: functools.partial(hf.unet(c, state, d), x, t, context=context))


def stage(j, name, photograph):
    c = parse(STAGES[name])
    x = photo(photograph, 256, 256, 10, 100)
    state = {**j.weights("encoder", name), **j.weights("decoder", name)}
    latent = j.compare(name + " encoder", name, "encoder", {"x": x}, lambda d: functools.partial(hf.autoencoder(c["kind"], c, state, d)[0], x))
    z = latent[:, : c["z_channels"]].float()
    if c["kind"] == "vq":  # where two codewords are equally near, f32 may take either: step onto the nearest one there
        book = state["quantize.embedding.weight"].double()
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]).double()
        near = (torch.cdist(flat, book) ** 2).topk(2, largest=False)
        tie = near.values[:, 1] - near.values[:, 0] < 1e-4
        print(f"{name}: {tie.sum().item()} of {len(tie)} pixels moved off a tie")
        flat[tie] = book[near.indices[tie, 0]]
        z = flat.reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2).contiguous().float()
    j.compare(name + " decoder", name, "decoder", {"z": z}, lambda d: functools.partial(hf.autoencoder(c["kind"], c, state, d)[1], z))


def sd15(j):
    """The folder holds what StableDiffusionPipeline.save_pretrained writes, without tokenizer: ids are given."""
    folder = os.path.join(j.folder, "sd15")
    torch.manual_seed(SEED)
    makers = {
        "text_encoder": lambda: CLIPTextModel(CLIPTextConfig(
            hidden_size=768, intermediate_size=3072, num_hidden_layers=12, num_attention_heads=12, projection_dim=768)),
        "unet": lambda: diffusers.UNet2DConditionModel(sample_size=64, cross_attention_dim=768, attention_head_dim=8),
        "vae": lambda: diffusers.AutoencoderKL(
            block_out_channels=(128, 256, 512, 512), down_block_types=("DownEncoderBlock2D",) * 4,
            up_block_types=("UpDecoderBlock2D",) * 4, layers_per_block=2, latent_channels=4, sample_size=512),
    }
    for name, make in makers.items() if j.doing == "values" else ():  # f16 numbers, in f32 and f64 alike
        model = make().half()
        model.save_pretrained(os.path.join(folder, name))
        del model
        gc.collect()
    os.makedirs(folder, exist_ok=True)
    diffusers.PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True,
                            steps_offset=1, set_alpha_to_one=False).save_pretrained(os.path.join(folder, "scheduler"))
    with open(os.path.join(folder, "model_index.json"), "w") as f:
        json.dump({"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__,
                   "scheduler": ["diffusers", "PNDMScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
                   "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"]}, f)
    load = lambda cls, name, d: cls.from_pretrained(os.path.join(folder, name), torch_dtype=torch.float32).to(d).eval()

    def text(d):
        model = load(CLIPTextModel, "text_encoder", d)
        return lambda: model(ids).last_hidden_state

    def unet_step(d):
        model = load(diffusers.UNet2DConditionModel, "unet", d)
        model.time_proj = hf.TimeProjection(320)
        return lambda: model(x.to(d), t, encoder_hidden_states=context.to(d)).sample

    def decode(d):
        model = load(diffusers.AutoencoderKL, "vae", d)
        return lambda: model.decode(x.to(d)).sample

    g = torch.Generator().manual_seed(SEED)
    ids = torch.randint(0, 49405, (1, 77), generator=g)
    ids[0, 0], ids[0, 20:] = 49406, 49407
    source = ["-m", folder]
    context = j.compare("SD 1.5 text encoder", "sd15", "text", {"ids": ids}, text, source)
    if context is None:  # times: as the values had it
        context = torch.from_numpy(np.load(os.path.join(j.folder, "unet_context.npy")))
    context = context.float()
    x, t = torch.randn(1, 4, 64, 64, generator=g), torch.tensor([741.0])
    j.compare("SD 1.5 UNet", "sd15", "unet", {"x": x, "t": t, "context": context}, unet_step, source)
    j.compare("SD 1.5 decoder", "sd15", "decoder", {"z": x}, decode, source)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ldm", default=os.path.join(root, "ldm"))
    p.add_argument("--photo", default=os.path.join(root, "tests", "data", "photos", "astronaut.png"))
    p.add_argument("--only", choices=["unet", "vq-f4", "kl-f8", "sd15"], help="one of them; other results in the file are kept")
    p.add_argument("-o", "--out", default=os.path.join(root, "results", "witness_full_size.json"))
    p.add_argument("--folder", help="where weights and inputs go, and stay for --times")
    p.add_argument("--times", action="store_true", help="of sd15, whose values are there")
    p.add_argument("--by-torch", help=argparse.SUPPRESS)  # a network's name: what --times runs as a process of its own
    a = p.parse_args()
    if (a.times or a.by_torch) and (a.only != "sd15" or not a.folder):
        p.error("--times goes with --only sd15 and the --folder that an earlier call filled")
    old = {"results": []}
    if os.path.exists(a.out):
        with open(a.out) as f:
            old = json.load(f)
    with tempfile.TemporaryDirectory() as folder:
        folder = a.folder or folder
        os.makedirs(folder, exist_ok=True)
        j = Judge(a.ldm, folder, a.by_torch or ("times" if a.times else "values"), old["results"] if a.times else None)
        for name in ("unet", "vq-f4", "kl-f8", "sd15"):
            if a.only in (None, name):
                unet(j) if name == "unet" else sd15(j) if name == "sd15" else stage(j, name, a.photo)
    if a.by_torch:
        return
    git = lambda *args: subprocess.run(["git", "-C", root, *args], capture_output=True, text=True).stdout.strip()
    device = subprocess.run([a.ldm, "devices"], capture_output=True, text=True).stdout.strip().splitlines()
    kept = [r for r in old["results"] if a.only and r["network"] not in {v["network"] for v in j.results}]
    info = {
        "what": "ldm run on the device against PyTorch with the same random weights; errors are against PyTorch in f64",
        "date": datetime.date.today().isoformat(), "commit": git("rev-parse", "HEAD"), "machine": platform.machine(),
        "devices": device, "torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__, "seed": SEED,
        "results": kept + j.results,
    }
    with open(a.out, "w") as f:
        json.dump(info, f, indent=1)
        f.write("\n")
    raise SystemExit(0 if all(r["pass"] for r in j.results) else 1)


if __name__ == "__main__":
    main()
