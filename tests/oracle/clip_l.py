"""clip_l.py -- CLIP's text tower at full size (123 M random weights) once: `ldm run text` on the device against transformers,
values and time. Takes a minute and 3 GB; not part of the test suite.

    .venv/bin/python tests/oracle/clip_l.py [--ldm ./ldm] [--values-only] [--threads 2] -o results/witness_clip_l.json

Values pass if the largest error against transformers' f64 evaluation is at most twice that of its f32 evaluation, plus two
ulps of the peak, at clip-skip 1 and 2. Time passes if the median of our runs is at most that of PyTorch's, in turns of
`--repeat` runs each, so that both see the same machine. --values-only keeps the times that are in the file.
"""
import argparse
import datetime
import json
import os
import platform
import re
import statistics
import subprocess
import tempfile
import time

import numpy as np
import torch
import transformers
from safetensors.torch import save_file

import nets_text
from oracle import TEXT_GAINS
from witness import errors, make_weights, nudged

CONFIG = nets_text.defaults(dict(kind="clip", width=768, layers=12, length=77, vocab=49408))
TOKEN_TABLE = nets_text.CLIP + "embeddings.token_embedding.weight"
TURNS = 5


def ours(tool, folder, ids, skip, repeat=1):
    """(context, milliseconds of every run)"""
    np.save(f"{folder}/ids.npy", ids.numpy().astype(np.float32))
    out = subprocess.run([tool, "run", "text", "--config", "clip-l", "-m", f"{folder}/clip.safetensors", "--in",
                          f"ids={folder}/ids.npy", "--clip-skip", str(skip), "--repeat", str(repeat), "-o", f"{folder}/y.npy"],
                         check=True, capture_output=True, text=True).stdout
    return torch.from_numpy(np.load(f"{folder}/y.npy")).double(), [float(v) for v in re.findall(r"run \d+: ([\d.]+) ms", out)]


def values(tool, folder, state, ids):
    out = []
    for skip in (1, 2):
        y, _ = ours(tool, folder, ids, skip)
        y64 = nets_text.clip(CONFIG, state, torch.float64)(ids, skip)
        plain = [nets_text.clip(CONFIG, {**state, TOKEN_TABLE: w}, torch.float32)(ids, skip)
                 for w in nudged(state[TOKEN_TABLE], 700)]
        e = errors(plain, y64)
        bound = 2 * e["f32_max_error"] + 2.0**-22 * e["peak"]
        error = (y - y64).abs()
        out.append(dict(e, clip_skip=skip, max_abs_error=error.max().item(), mean_abs_error=error.mean().item(),
                        error_of_bound=error.max().item() / bound, **{"pass": error.max().item() <= bound}))
        print(f"clip-skip {skip}: largest error {error.max().item():.2e} of peak {e['peak']:.3g}, PyTorch's own f32 "
              f"{e['f32_max_error']:.2e}: {'pass' if out[-1]['pass'] else 'FAIL'}", flush=True)
    return out


def times(tool, folder, state, ids, repeat):
    """Turn by turn, the first run of each turn left out: weights are not in memory yet, kernels not loaded."""
    net = nets_text.clip(CONFIG, state, torch.float32)
    mine, theirs = [], []
    for _ in range(TURNS):
        mine += ours(tool, folder, ids, 1, repeat + 1)[1][1:]
        net(ids, 1)
        for _ in range(repeat):
            start = time.perf_counter()
            net(ids, 1)
            theirs.append((time.perf_counter() - start) * 1e3)
    a, b = statistics.median(mine), statistics.median(theirs)
    print(f"{len(mine)} runs each, median: ours {a:.1f} ms, PyTorch {b:.1f} ms: {'pass' if a <= b else 'FAIL'}", flush=True)
    return {"runs": len(mine), "ours_ms": mine, "torch_ms": theirs, "ours_median_ms": a, "torch_median_ms": b,
            "torch_threads": torch.get_num_threads(), "pass": a <= b}


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ldm", default=os.path.join(root, "ldm"))
    p.add_argument("--values-only", action="store_true")
    p.add_argument("--repeat", type=int, default=10)
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("-o", "--out", default=os.path.join(root, "results", "witness_clip_l.json"))
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    state = make_weights(nets_text.clip_shapes(CONFIG), 700, TEXT_GAINS)
    ids = torch.randint(0, CONFIG["vocab"], (1, CONFIG["length"]), generator=torch.Generator().manual_seed(700))
    kept = None
    if a.values_only and os.path.exists(a.out):
        with open(a.out) as f:
            kept = json.load(f)["time"]
    with tempfile.TemporaryDirectory() as folder:
        save_file({"cond_stage_model." + k: v.float().contiguous() for k, v in state.items()}, f"{folder}/clip.safetensors")
        v = values(a.ldm, folder, state, ids)
        t = kept if a.values_only else times(a.ldm, folder, state, ids, a.repeat)
    git = lambda *args: subprocess.run(["git", "-C", root, *args], capture_output=True, text=True).stdout.strip()
    info = {
        "what": "ldm run text --config clip-l on the device against transformers' CLIPTextModel with the same random weights",
        "date": datetime.date.today().isoformat(), "commit": git("rev-parse", "HEAD"), "machine": platform.machine(),
        "devices": subprocess.run([a.ldm, "devices"], capture_output=True, text=True).stdout.strip().splitlines(),
        "torch": torch.__version__, "transformers": transformers.__version__, "parameters": sum(w.numel() for w in state.values()),
        "values": v, "time": t,
    }
    with open(a.out, "w") as f:
        json.dump(info, f, indent=1)
        f.write("\n")
    raise SystemExit(0 if all(r["pass"] for r in v) and (t is None or t["pass"]) else 1)


if __name__ == "__main__":
    main()
