#!/usr/bin/env python3
"""peers_torch.py -- whole UNet steps, ours against PyTorch eager (diffusers' UNet2DConditionModel, contiguous and
channels_last), same weights, same machine, interleaved in one run.

`ldm run --save-weights` exports the synthetic weights as .safetensors; the two outputs are compared before anything is timed.
Whoever is idle is stopped or passive. Needs the environment that `make peers-venv` makes: .venv/bin/python
bench/peers_torch.py cin-ldm-8. Writes results/peers-torch-<device>-<date>.json."""
import argparse, copy, datetime, json, os, re, statistics, subprocess, sys, tempfile, time

os.environ["OMP_WAIT_POLICY"] = "passive"  # before torch starts its threads
here = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [here, os.path.join(here, "..", "tests", "oracle")]
import numpy as np
import torch
import diffusers
from safetensors.torch import load_file
import nets_diffusers
from peers import Server, busy_ticks
from witness import parse

# paper table 13, as in host/model/configs.c: channels, side of the latent, model_channels, channel_mult, attention factors
CIN = {1: (3, 256, 192, "1,1,2,2,4,4", "8,16,32"), 2: (2, 128, 192, "1,2,2,4,4", "4,8,16"), 4: (3, 64, 192, "1,2,3,5", "2,4,8"),
       8: (4, 32, 256, "1,2,4", "1,2,4"), 16: (8, 16, 256, "1,2,4", "1,2,4"), 32: (32, 8, 256, "1,2,4", "1,2,4")}
SEED = 20


def config(net):
    c, side, width, mult, attention = CIN[int(net.rsplit("-", 1)[1])]
    return side, parse(f"in_channels={c} out_channels={c} model_channels={width} channel_mult={mult} num_res_blocks=2 "
                       f"attention_resolutions={attention} num_heads=1 use_spatial_transformer=1 transformer_depth=1 context_dim=512")


def seconds_of(call):
    call()
    runs, start = 0, time.perf_counter()
    while runs == 0 or time.perf_counter() - start < 0.02:
        call()
        runs += 1
    return (time.perf_counter() - start) / runs


def compare(net, o, server):
    side, c = config(net)
    g = torch.Generator().manual_seed(1)
    x, context = torch.randn(1, c["in_channels"], side, side, generator=g), torch.randn(1, 1, 512, generator=g)
    t = torch.tensor([321.0])
    with tempfile.TemporaryDirectory() as folder:
        path = lambda name: os.path.join(folder, name)
        args = [os.path.join(o.build, "ldm"), "run", "unet", "--config", net, "--synthetic", str(SEED), "--out", path("y.npy"),
                "--save-weights", path("w.safetensors")]
        for name, value in (("x", x), ("t", t), ("context", context)):
            np.save(path(name + ".npy"), value.numpy())
            args += ["--in", f"{name}={path(name + '.npy')}"]
        subprocess.run(args + (["--device", o.device] if o.device else []), check=True)
        ours = torch.from_numpy(np.load(path("y.npy")))
        state = {k.removeprefix("model.diffusion_model."): v for k, v in load_file(path("w.safetensors")).items()}
    model = nets_diffusers.build_unet(c)
    nets_diffusers.load(model, nets_diffusers.unet_map(model, c), state)
    del state
    last = copy.deepcopy(model).to(memory_format=torch.channels_last)
    x_last = x.to(memory_format=torch.channels_last)
    calls = {"contiguous": lambda: model(x, t, encoder_hidden_states=context).sample,
             "channels_last": lambda: last(x_last, t, encoder_hidden_states=context).sample}
    y = calls["contiguous"]()
    difference = ((ours - y).abs().max() / y.abs().max()).item()
    if not difference < 1e-3:
        sys.exit(f"{net}: our output differs from PyTorch's by {difference:.2e} of its peak; nothing is timed")
    opened = server.ask(f"net {net}:unet {SEED}")
    if "error" in opened:
        sys.exit(f"{net}: {opened['error']}")
    times = {k: [] for k in ("ours", *calls)}
    pids = [server.process.pid, os.getpid()]
    busy0, own0 = busy_ticks(pids)
    for _ in range(o.rounds):
        times["ours"].append(server.ask("time net")["seconds"])
        for name, call in calls.items():
            times[name].append(seconds_of(call))
    busy1, own1 = busy_ticks(pids)
    server.ask("close")
    median = {k: statistics.median(v) for k, v in times.items()}
    best = min(calls, key=median.get)
    return {"network": net, "batch": 1, "dtype": "f32", "flops": opened["flops"], "params": opened["params"], "max_difference_of_peak": difference,
            "ours_s": median["ours"], "torch_contiguous_s": median["contiguous"], "torch_channels_last_s": median["channels_last"],
            "ours_gflops": opened["flops"] / median["ours"] * 1e-9, "best_torch": best, "step_speed_over_torch": median[best] / median["ours"],
            "other_load": round(max(0, (busy1 - busy0) - (own1 - own0)) / max(1, busy1 - busy0), 3), "seconds": times}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("nets", nargs="*", default=["cin-ldm-8"], help="cin-ldm-1 ... cin-ldm-32 (default cin-ldm-8)")
    ap.add_argument("--build", default="build/release")
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--device", help="as for ldm")
    ap.add_argument("-o", "--out")
    o = ap.parse_args()
    torch.set_grad_enabled(False)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    server = Server("ldm", [os.path.join(o.build, "ldm-bench"), "--serve"] + (["--device", o.device] if o.device else []))
    header = server.ask("header")["header"]
    header["command"] = " ".join(["bench/peers_torch.py"] + sys.argv[1:])
    header["peers"] = {"torch": torch.__version__, "diffusers": diffusers.__version__, "threads": torch.get_num_threads()}
    header["method"] = f"median of {o.rounds} interleaved rounds, each after one warm-up run"
    rows = []
    for net in o.nets:
        r = compare(net, o, server)
        rows.append(r)
        print(f"{net}: ours {r['ours_s']:.4f} s ({r['ours_gflops']:.0f} GFLOP/s), torch contiguous {r['torch_contiguous_s']:.4f} s, channels_last "
              f"{r['torch_channels_last_s']:.4f} s: {r['step_speed_over_torch']:.2f} times the best (outputs differ by "
              f"{r['max_difference_of_peak']:.1e} of the peak, other load {100 * r['other_load']:.0f} %)", flush=True)
    server.end()
    device = re.sub(r"[^a-z0-9]+", "-", header["device"]["name"].lower()).strip("-")
    path = o.out or f"results/peers-torch-{device}-{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}.json"
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".tmp", "w") as f:
        json.dump({"header": header, "rows": rows}, f, indent=1)
        f.write("\n")
    os.replace(path + ".tmp", path)
    print(path)


if __name__ == "__main__":
    main()
