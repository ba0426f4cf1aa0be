#!/usr/bin/env python3
"""readme.py RESULTS README -- rewrites what stands between the results marks of the README from results/*.json: the newest file
of each kind counts, and each table says where its figures come from. Standard library only."""
import glob, json, os, re, sys
from columns import PARTIES, newest, parties, short, where

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


def source(doc, folder):
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path) as f:
            if json.load(f) == doc:
                command = re.sub(r" (-o|--out|--output|--files|--build)[ =]\S+", "", doc["header"]["command"])  # places of the machine it ran on
                return f"`{os.path.basename(path)}`, made by `{command.replace('ldm-bench', 'ldm bench', 1)}`"
    return "?"


def table(head, rows):
    return ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)] + ["| " + " | ".join(map(str, r)) + " |" for r in rows]


def ablation(doc, which, folder, exact):
    first = doc["rows"][0]
    family = "class-conditional ImageNet" if first["config"].startswith("cin") else "CelebA-HQ"
    lines = [f"**The compression ablation** ({family}, full-size networks, 256 x 256 pixels, {first['steps']} DDIM steps + one decode, batch "
             f"{first['batch']}, {first['dtype']}, synthetic weights; {where(doc['header'])}; {source(doc, folder)}):", ""]
    head = ["f", "parameters", "GMAC a call", "step, s", "decode, s", "sample, s", "speed-up", "headline", "by arithmetic", "GFLOP/s", "of peak"]
    lines += table(head, [[r["f"], f"{r['params'] / 1e6:.1f} M", f"{r['gmac']:.1f}", f"{r['step_s']:.3f}", f"{r['decode_s']:.2f}", f"{r['sample_s']:.3g}",
                           f"{r['speedup']:.2f}", r["headline"], f"{r['arithmetic']:.1f}", f"{r['gflops']:.0f}", f"{r['peak_percent']:.0f} %"]
                          for r in doc["rows"]])
    guesses = [f"f = {r['f']}: first stage {r['guess']}." for r in doc["rows"] if "guess" in r]
    more = []
    if exact:
        steps, ups = ([f"{r[k]:.{n}f}" for r in exact["rows"]] for k, n in (("step_s", 3), ("speedup", 2)))
        more = ["", f"Without Winograd and fusion (`--exact --no-fuse`, {where(exact['header'])}; {source(exact, folder)}): steps {' / '.join(steps)} s, "
                f"speed-ups {' / '.join(ups)}, f = 1 at {exact['rows'][0]['peak_percent']:.0f} % of the peak."]
    return lines + ["", f"Peak is measured: {doc['header']['peak']['gflops']:.0f} GFLOP/s; GFLOP/s counts the operations of the direct algorithms, of which "
                    "Winograd and fusion do fewer, so it can exceed the peak. " + " ".join(guesses)] + more + ["",
                    f"![speed-up against f](plots/ablation-{which}.png)"]


def peers(doc, which, folder):
    isa = doc["header"].get("isa")
    held = f", all held to {isa}, ours by its vectors" if isa else ""
    lines = [f"**Against the libraries**{held}, same shapes in the same run, weighted by use ({where(doc['header'])}; "
             f"{source(doc, folder)}): time of the best of oneDNN (nhwc, any, Winograd), OpenBLAS and CLBlast over ours; ours direct is the row that "
             "`--exact` chooses, without Winograd.", ""]
    lines += table(["op", "shapes", "best direct / ours", "best of all / ours", "best direct / ours direct", "the worst of these"],
                   [[k, v["shapes"], f"{v['speed_over_best_direct']:.2f}", f"{v['speed_over_best']:.2f}"] +
                    ([f"{v['direct_over_best_direct']:.2f}", f"{v['worst_direct']['direct_over_best_direct']:.2f} ({short(v['worst_direct']['problem'])})"]
                     if "worst_direct" in v else ["-", "-"]) for k, v in doc["summary"].items()])
    if doc["header"].get("absent"):
        lines += ["", "Absent: " + "; ".join(f"{k}: {why}" for k, why in doc["header"]["absent"].items()) + "."]
    return lines if isa else lines + ["", f"![kernels against peers](plots/peers-{which}.png)"]


def networks(doc, which, folder):
    names = list(dict.fromkeys(PARTIES.values()))
    rows = [r for r in doc["rows"] if r["fastest"]]
    there = {r["work"]: parties(r) for r in rows}
    versions = {n: e["version"].split("-")[0].split("+")[0] for t in there.values() for n, e in t.items()}
    lines = [f"**Whole networks**, ours against other libraries: same weights, inputs and {doc['header']['threads']} threads, seconds, best of "
             f"interleaved pairs, ours of those with the peer that decides ({where(doc['header'])}; {source(doc, folder)}, bench/README.md says how to repeat it; "
             f"{', '.join(f'{n} {versions[n]}' for n in names if n in versions)}):", ""]
    lines += table(["network, batch 1 unless said", "GFLOP", "ours"] + names + ["fastest / ours"],
                   [[r["about"], f"{r['flops'] * 1e-9:.0f}", f"{r['peers'][r['fastest']]['ours_s']:.3f}"] +
                    [f"{there[r['work']][n]['seconds']:.3f}" if n in there[r["work"]] else "-" for n in names] +
                    [f"**{r['step_speed_over_peers']:.2f}**"] for r in rows])
    lines += ["", "Peak of anonymous and device memory (file mappings not counted), and time from the start of the process to the first step done, "
              "checkpoint on disk, caches warm (of `ldm run`, which on a CPU reads weights in place if it is to run once; behind it that of a run of "
              "several steps, which copies them first; memory is of the latter; behind that of --low-memory, how many times as long a step takes):", ""]
    body = []
    for r in (r for r in rows if "leanest" in r):
        lean, quick = r["peers"][r["leanest"]], r["peers"][r["quickest"]]
        low, took = (r["ours"].get("low_memory", {}).get(k) for k in ("peak_anonymous_bytes", "step_s"))
        longer = f" ({took / r['ours']['step_s']:.2f})" if took else ""
        mib = lambda v: f"{v / 2**20:.0f}" if v else "-"
        repeating = r["ours"].get("start_repeating_s")
        body.append([r["about"], mib(r["ours"]["peak_anonymous_bytes"]), mib(low) + longer, f"{mib(lean['peak_anonymous_bytes'])} ({PARTIES[r['leanest']]})",
                     f"{r['memory_over_leanest']:.2f}", f"{r['ours']['start_s']:.2f}" + (f" ({repeating:.2f})" if repeating else ""), f"{quick['start_s']:.2f} ({PARTIES[r['quickest']]})",
                     f"{r['start_speed_over_peers']:.2f}"])
    lines += table(["network", "ours, MiB", "--low-memory", "leanest, MiB", "ours / leanest", "our start, s", "quickest, s", "quickest / ours"], body)
    absent = sorted({f"{k}: {e['absent']} ({r['about']})" for r in doc["rows"] for k, e in r["peers"].items() if "absent" in e})
    return lines + (["", "Absent: " + "; ".join(absent) + "."] if absent else []) + ["", f"![whole networks against peers](plots/networks-{which}.png)"]


def floor(docs, folder):
    """One table of all networks of a device."""
    first = docs[0]
    kinds = list(dict.fromkeys(k["kind"] for d in docs for k in sorted(d["kinds"][:-1], key=lambda k: -k["seconds"])[:4]))[:6]
    lines = [f"**Against the machine**: the least time that the measured peak ({first['header']['peak']['gflops']:.0f} GFLOP/s) and bandwidth allow the "
             f"best algorithm of ours for each step, over the time measured; by kind of step and for the whole ({where(first['header'])}; "
             + "; ".join(source(d, folder) for d in docs) + "):", ""]
    body = []
    ms = lambda s: f"{1e3 * s:.{0 if s > 0.02 else 1}f}"
    for d in docs:
        of = {k["kind"]: k for k in d["kinds"]}
        body.append([d["network"], ms(d["floor_s"]), ms(d["seconds"]), f"**{d['floor_over_measured']:.2f}**"] +
                    [f"{of[k]['floor_over_measured']:.2f} ({100 * of[k]['seconds'] / d['seconds']:.0f} %)" if k in of else "-" for k in kinds] +
                    [d["launches"], f"{d['launch_us']:.1f}", f"{100 * d['launch_share']:.1f} %"])
    return lines + table(["network", "floor, ms", "measured, ms", "floor / measured"] + [f"{k} (of the time)" for k in kinds] +
                         ["launches", "us each beyond their kernels", "of the time"], body)


def growth(doc, which, folder):
    return [f"**How time grows**: {doc['network']} ({where(doc['header'])}; {source(doc, folder)}):", "",
            f"![time against batch, side and cores](plots/growth-{which}.png)"]


def budgets(doc, which, folder):
    """Each budget beside the row of the same work without one."""
    lines = [f"**Within a budget of memory**, synthetic weights ({where(doc['header'])}; {source(doc, folder)}): device memory allocated at most, and "
             "what was done to stay within `--max-memory`.", ""]
    body, whole = [], {}
    mib = lambda v: f"{v / 2**20:.0f}"
    for r in doc["rows"]:
        if "budget_bytes" not in r:
            whole[r["what"]] = r
            continue
        was = whole[r["what"]]
        longer = r.get("time_ratio", r["seconds"] / was["seconds"])
        beside = f" ({mib(r['beside_weights_bytes'])} beside the weights)" if "beside_weights_bytes" in r.get("wanted", {}) else ""
        same = r.get("same_bits", r.get("latent_sha256") == was.get("latent_sha256"))
        body.append([r["what"], mib(was["peak_bytes"]), mib(r["budget_bytes"]), mib(r["peak_bytes"]) + beside, r["chosen"], f"{longer:.2f}", "yes" if same else "no"])
    return lines + table(["what", "all there is, MiB", "budget, MiB", "peak, MiB", "chosen", "times as long", "same bits"], body)


def roofline(doc, which, folder):
    return [f"**Kernels against the roofline** ({where(doc['header'])}; {source(doc, folder)}):", "", f"![roofline](plots/roofline-{which}.png)"]


def main():
    folder, readme = sys.argv[1:3]
    found = newest(folder)
    blocks = []
    for kind, make in (("ablation", ablation), ("peers", peers), ("networks", networks), ("budgets", budgets), ("growth", growth), ("bench", roofline)):
        if kind == "growth":
            floors = [d for (k, _), d in sorted(found.items()) if k == "floor"]
            for device in dict.fromkeys(d["header"]["device"]["name"] for d in sorted(floors, key=lambda d: d["header"]["device"]["type"])):
                blocks += floor([d for d in floors if d["header"]["device"]["name"] == device], folder) + [""]
        for (k, which), doc in sorted(found.items()):
            if k == kind:
                blocks += make(doc, which, folder, *([found.get(("exact ablation", which))] if make is ablation else [])) + [""]
    with open(readme) as f:
        text = f.read()
    head, rest = text.split(BEGIN)
    tail = rest.split(END)[1]
    with open(readme, "w") as f:
        f.write(head + BEGIN + "\n" + "\n".join(blocks) + END + tail)


if __name__ == "__main__":
    main()
