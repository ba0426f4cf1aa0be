#!/usr/bin/env python3
"""readme.py RESULTS README -- rewrites what stands between the results marks of the README from results/*.json: the newest file
of each kind counts, and each table says where its figures come from. Standard library only."""
import glob, json, os, sys
from columns import newest, where

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def source(doc, folder):
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path) as f:
            if json.load(f) == doc:
                return os.path.basename(path)
    return "?"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(map(str, r)) + " |" for r in rows]


def ablation(doc, which, folder):
    first = doc["rows"][0]
    family = "class-conditional ImageNet" if first["config"].startswith("cin") else "CelebA-HQ"
    lines = [f"**The compression ablation** ({family}, full-size networks, 256 x 256 pixels, {first['steps']} DDIM steps + one decode, batch "
             f"{first['batch']}, {first['dtype']}, synthetic weights; {where(doc['header'])}; `{source(doc, folder)}`):", ""]
    head = ["f", "parameters", "GMAC a call", "step, s", "decode, s", "sample, s", "speed-up", "headline", "by arithmetic", "GFLOP/s", "of peak"]
    lines += table(head, [[r["f"], f"{r['params'] / 1e6:.1f} M", f"{r['gmac']:.1f}", f"{r['step_s']:.3f}", f"{r['decode_s']:.2f}", f"{r['sample_s']:.1f}",
                           f"{r['speedup']:.2f}", r["headline"], f"{r['arithmetic']:.1f}", f"{r['gflops']:.0f}", f"{r['peak_percent']:.0f} %"]
                          for r in doc["rows"]])
    guesses = [f"f = {r['f']}: first stage {r['guess']}." for r in doc["rows"] if "guess" in r]
    return lines + ["", f"Peak is measured: {doc['header']['peak']['gflops']:.0f} GFLOP/s. " + " ".join(guesses), "",
                    f"![speed-up against f](plots/ablation-{which}.png)"]


def peers(doc, which, folder):
    lines = [f"**Against the libraries**, same shapes in the same run, weighted by use (LDM-8 UNet, kl-f8 decoder and single attention heads; "
             f"{where(doc['header'])}; `{source(doc, folder)}`): time of the best of oneDNN (nhwc, any, Winograd), OpenBLAS and CLBlast over ours.", ""]
    lines += table(["op", "shapes", "best direct algorithm / ours", "best of all / ours"],
                   [[k, v["shapes"], f"{v['speed_over_best_direct']:.2f}", f"{v['speed_over_best']:.2f}"] for k, v in doc["summary"].items()])
    return lines + ["", f"![kernels against peers](plots/peers-{which}.png)"]


def torch(doc, which, folder):
    lines = [f"**Against PyTorch eager**, whole UNet steps with the same weights, interleaved ({where(doc['header'])}; `{source(doc, folder)}`):", ""]
    return lines + table(["network", "ours, s", "PyTorch's best, s", "ratio"],
                         [[r["network"], f"{r['ours_s']:.3f}", f"{r['torch_' + r['best_torch'] + '_s']:.3f} ({r['best_torch'].replace('_', ' ')})",
                           f"{r['step_speed_over_torch']:.2f}"] for r in doc["rows"]])


def main():
    folder, readme = sys.argv[1:3]
    found = newest(folder)
    blocks = []
    for kind, make in (("ablation", ablation), ("peers", peers), ("torch", torch)):
        for (k, which), doc in sorted(found.items()):
            if k == kind:
                blocks += make(doc, which, folder) + [""]
    with open(readme) as f:
        text = f.read()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    with open(readme, "w") as f:
        f.write(head + BEGIN + "\n" + "\n".join(blocks) + END + tail)


if __name__ == "__main__":
    main()
