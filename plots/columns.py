#!/usr/bin/env python3
"""columns.py RESULTS OUT -- results/*.json to the columns gnuplot reads, and the list of pictures to draw.

A file's kind is seen from its rows: ablation (speedup; exact ablation where made with --exact), bench (roof_percent), peers (speed_over_best), networks
(step_speed_over_peers), growth (axis), floor (floor_s), budgets (peak_bytes; a table only). Of each kind, family or network, and
device type the newest file counts. Writes OUT/<picture>-<which>.dat and .vars (gnuplot assignments), and OUT/list with "picture which" a line; `make plots` runs plots/<picture>.gp on each. Standard library only."""
import glob, json, os, re, sys

KINDS = ("conv2d", "gemm", "attention", "group_norm", "layer_norm", "other")
COMPARED = ("attention", "gemm", "conv2d")  # bottom to top
PARTIES = {"torch": "PyTorch eager", "torch-channels-last": "PyTorch eager", "torch-compile": "torch.compile", "openvino": "OpenVINO",
           "onnxruntime": "ONNX Runtime", "mnn": "MNN"}  # the faster of the two eager ones counts
BARS = 40  # the shapes that cost most, each by its uses


def kind_of(doc):
    row = next((r for r in doc.get("rows", []) if "failed" not in r), {})
    if "speedup" in row:
        return "exact ablation" if " --exact" in doc["header"]["command"] else "ablation"
    if "axis" in row:
        return "growth"
    if "floor_s" in doc:
        return "floor"
    if "peak_bytes" in row:
        return "budgets"
    return "bench" if "roof_percent" in row else \
        "peers" if "speed_over_best" in row else "networks" if "step_speed_over_peers" in row else None


def slug(text):
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def newest(folder):
    """{(kind, which): document}; which is cpu, gpu or, for another family than cin, celeba-cpu; with a network, its name before; for a
    roofline the device's name."""
    found = {}
    for path in sorted(glob.glob(os.path.join(folder, "*.json"))):
        with open(path) as f:
            doc = json.load(f)
        kind = kind_of(doc) if isinstance(doc, dict) and "header" in doc else None
        if not kind:
            continue
        which = doc["header"].get("device", {}).get("type", "cpu")
        family = doc["rows"][0].get("config", "cin").split("-")[0] if kind.endswith("ablation") else "cin"
        which = which if family == "cin" else f"{family}-{which}"
        if kind in ("growth", "floor"):
            which = slug(doc["network"]) + "-" + which
        if kind == "bench":  # a roofline is a device's own
            which = slug(doc["header"].get("device", {}).get("name", which))
        if kind == "peers" and "isa" in doc["header"]:
            which = f"{doc['header']['isa'].lower()}-{which}"
        if (kind, which) not in found or doc["header"]["date"] > found[kind, which]["header"]["date"]:
            found[kind, which] = doc
    return found


def quoted(text):
    return '"' + str(text).replace("\\", "").replace('"', "'") + '"'


def where(header):
    """'AMD EPYC, 2 cores, PoCL; commit abc, 2026-11-23' for the line under a title."""
    device, machine = header.get("device", {}), header.get("machine", {})
    cpu = device.get("type") == "cpu"
    name = f"{machine.get('cpu')}, {machine.get('cores')} cores" if cpu else device.get("name")
    through = device.get("platform", "OpenCL").replace("Portable Computing Language", "PoCL")
    return f"{name}, {through}; commit {header.get('commit')}, {header['date'][:10]}"


def short(problem):
    """'conv2d:f32 n=1 c=320 h=64 ...' as 'conv 3x3 320 > 320 @64x64'."""
    op = problem.split(":")[0]
    v = {k: int(x) for k, x in re.findall(r" (\w+)=(\d+)", problem)}
    if op == "conv2d":
        extra = (f" /{v['stride']}" if v.get("stride", 1) > 1 else "") + (" up" if v.get("up", 1) > 1 else "")
        batch = f"{v['n']} x " if v.get("n", 1) > 1 else ""
        channels = f"{v['c']}+{v['c2']}" if v.get("c2") else v["c"]
        return f"conv {v.get('r', 1)}x{v.get('s', 1)} {batch}{channels} > {v['k']} @{v['h']}x{v['w']}{extra}"
    if op == "gemm":
        return f"gemm {str(v['batch']) + ' x ' if v.get('batch', 1) > 1 else ''}{v['m']} x {v['n']} x {v['k']}"
    if op == "attention":
        return f"attention {v.get('n', 1) * v.get('heads', 1)} x {v['nq']} x {v['nkv']}, d = {v['d']}"
    return problem


def write(out, name, lines, variables):
    with open(os.path.join(out, name + ".dat"), "w") as f:
        f.write("\n".join(lines) + "\n")
    with open(os.path.join(out, name + ".vars"), "w") as f:
        f.writelines(f"{k} = {v}\n" for k, v in variables.items())


def ablation(out, which, doc):
    rows = sorted((r for r in doc["rows"] if "speedup" in r), key=lambda r: r["f"])
    family = {"cin": "Class-conditional LDM-f", "celeba": "CelebA-HQ LDM-f"}.get(rows[0]["config"].split("-")[0], rows[0]["config"])
    title = f"{family}, 256 x 256 pixels, {rows[0]['steps']} steps + decode, batch {rows[0]['batch']}"
    write(out, f"ablation-{which}",
          [f"{r['f']} {r['speedup']} {r['arithmetic']} {r['headline']} {r['peak_percent']} {r['sample_s']}" for r in rows],
          {"title_text": quoted(title), "where_text": quoted(where(doc["header"]))})
    shares = {}
    for k in doc.get("kinds", []):
        op = k["op"] if k["op"] in KINDS else "other"
        shares.setdefault(k["f"], {}).setdefault(op, 0)
        shares[k["f"]][op] += k["seconds"]
    if not shares:
        return ["ablation"]
    lines = []
    for f in sorted(shares):
        total = sum(shares[f].values()) or 1
        lines.append(" ".join([f'"LDM-{f}"'] + [f"{100 * shares[f].get(k, 0) / total:.3f}" for k in KINDS] + [f"{total:.6g}"]))
    write(out, f"split-{which}", lines, {"where_text": quoted(where(doc["header"])), "kinds": quoted(" ".join(KINDS))})
    return ["ablation", "split"]


def bench(out, which, doc, found):
    peak = doc["header"]["peak"]
    rows = [r for r in doc["rows"] if r.get("gflops", 0) > 0 and r["bytes"] > 0 and r["op"] != "network"]
    lines = []
    for k in KINDS:  # one indexed block an op; an empty one keeps the numbering
        mine = [r for r in rows if (r["op"] if r["op"] in KINDS else "other") == k]
        lines += [f"{r['flops'] / r['bytes']:.6g} {r['gflops']:.6g} {r['peak_percent']:.4g}" for r in mine] or ["NaN NaN NaN"]
        lines += ["", ""]
    kinds = [k for (kind, _), d in sorted(found.items()) if kind == "floor" and d["header"]["device"]["name"] == doc["header"]["device"]["name"]
             for k in d["kinds"][:-1] if k["flops"] > 0 and k.get("bytes", 0) > 0]  # one block more: sums of whole networks
    lines += [f"{k['flops'] / k['bytes']:.6g} {k['flops'] / k['seconds'] * 1e-9:.6g} 0" for k in kinds] or ["NaN NaN NaN"]
    write(out, f"roofline-{which}", lines,
          {"peak": peak["gflops"], "bandwidth": max(peak["read_gbs"], peak["copy_gbs"], peak["triad_gbs"]),
           "kinds": quoted(" ".join(KINDS)), "where_text": quoted(where(doc["header"]))})
    return ["roofline"]


def peers(out, which, doc):
    if "isa" in doc["header"]:  # a table says it
        return []
    rows = [r for r in doc["rows"] if "speed_over_best" in r]
    rows = sorted(rows, key=lambda r: -r["seconds"] * sum(r["uses"].values()))[:BARS]
    rows.sort(key=lambda r: (COMPARED.index(r["op"]), r["flops"]))
    bars = [(r.get("speed_over_best_direct", r["speed_over_best"]), r["speed_over_best"], r["op"], short(r["problem"]),
             re.sub(r"_skylakex|_sgemm.*|gemm_", "", r.get("best_peer_direct", r["best_peer"]))) for r in rows]
    lines = [f"{i} {direct:.4g} {best:.4g} {COMPARED.index(op)} {quoted(label)} {quoted(who)}"
             for i, (direct, best, op, label, who) in enumerate(bars)]
    write(out, f"peers-{which}", lines, {"count": len(bars), "where_text": quoted(where(doc["header"]))})
    return ["peers"]


def parties(row):
    """{"OpenVINO": its entry} of those that ran, each library's fastest way."""
    found = {}
    for key, entry in row["peers"].items():
        name = PARTIES[key]
        if "absent" not in entry and (name not in found or entry["seconds"] < found[name]["seconds"]):
            found[name] = entry
    return found


def networks(out, which, doc):
    rows = [r for r in doc["rows"] if r["fastest"]][::-1]
    names = list(dict.fromkeys(PARTIES.values()))
    lines = []
    for i, r in enumerate(rows):
        there, best = parties(r), r["peers"][r["fastest"]]
        ratios = [f"{there[n]['ratio']:.4g}" if n in there else "NaN" for n in names]
        note = f"{best['ours_s']:.3g} s, {PARTIES[r['fastest']]} {best['seconds']:.3g} s"
        lines.append(" ".join([str(i), f"{r['step_speed_over_peers']:.4g}", quoted(r["about"]), quoted(note)] + ratios))
    write(out, f"networks-{which}", lines, {"count": len(rows), "names": quoted(" ".join(f"'{n}'" for n in names)),
                                            "where_text": quoted(where(doc["header"]))})
    return ["networks"]


AXES = {"batch": ("'batch'", "'in proportion to the batch'"), "side": ("'side of the map'", "'in proportion to its pixels'"),
        "cores": ("'cores'", "'shared evenly by them'")}


def growth(out, which, doc):
    lines, axes = [], [a for a in AXES if any(r["axis"] == a and "seconds" in r for r in doc["rows"])]
    for axis in axes:
        rows = sorted((r for r in doc["rows"] if r["axis"] == axis and "seconds" in r), key=lambda r: r["value"])
        power = {"batch": 1, "side": 2, "cores": -1}[axis]
        lines += [f"{r['value']} {r['seconds']:.6g} {r['low_s']:.6g} {r['high_s']:.6g} "
                  f"{rows[0]['seconds'] * (r['value'] / rows[0]['value']) ** power:.6g}" for r in rows] + ["", ""]
    write(out, f"growth-{which}", lines,
          {"axes": quoted(" ".join(axes)), "labels": quoted(" ".join(AXES[a][0] for a in axes)),
           "proportions": quoted(" ".join(AXES[a][1] for a in axes)),
           "title_text": quoted(f"How the time of {doc['network']} grows, {doc['dtype']}"), "where_text": quoted(where(doc["header"]))})
    return ["growth"]


def main():
    results, out = sys.argv[1:3]
    os.makedirs(out, exist_ok=True)
    found = newest(results)
    draw = {"ablation": ablation, "bench": bench, "peers": peers, "networks": networks, "growth": growth}
    with open(os.path.join(out, "list"), "w") as f:
        for kind, which in sorted(found):
            if kind in draw:
                f.writelines(f"{picture} {which}\n" for picture in draw[kind](out, which, found[kind, which], *([found] if kind == "bench" else [])))


if __name__ == "__main__":
    main()
