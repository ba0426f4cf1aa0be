#!/usr/bin/env python3
"""budgets.py -- full-size models within a memory budget: what was done for it, the most device memory that was allocated, how many
times as long it took as with all the memory there is, and whether the bits are the same. A network runs both ways in one process
(`ldm run --whole`), a pipeline in a process of its own each. Weights are synthetic, inputs normal.
Writes results/budgets-<device>-<date>.json and prints a table. Standard library only."""
import argparse, datetime, hashlib, json, os, random, re, struct, subprocess, sys, tempfile

MIB = 1 << 20
SD15 = "gen --config sd15 --synthetic 1 --wtype f16 -p fox --steps 2 -s 1"
# what, command, and of each budget: MiB (None: all there is), and the most that is wanted of a figure of its row
WORKS = [
    ("SD 1.5's network, 512 x 512, batch 2, f16 weights",
     "run sd15 --synthetic 1 --wtype f16 --in x={x:2,4,64,64} --in t={t:2} --in context={context:2,77,768}", [(660, {})]),
    ("all of SD 1.5, 512 x 512, f16 weights", "gen --config sd15 --synthetic 1 --wtype f16 -p fox --steps 2 -s 1",
     [(None, {}), (1907, {"peak_bytes": 2.0e9}), (667, {"peak_bytes": 0.7e9})]),
    ("kl-f8 decoder, 1024 x 1024, f16 weights", "run kl-f8:decoder --synthetic 1 --wtype f16 --in z={z:1,4,128,128}",
     [(875, {"beside_weights_bytes": 0.6e9})]),
]


def write_npy(path, shape):
    """Normal numbers with a seed from the shape; for a single axis, timesteps."""
    rng, count = random.Random(str(shape)), 1
    for n in shape:
        count *= n
    values = [500.0] * count if len(shape) == 1 else [rng.gauss(0, 1) for _ in range(count)]
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {tuple(shape)}, }}"
    head += " " * (-(len(head) + 11) % 64) + "\n"
    with open(path, "wb") as f:
        f.write(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + struct.pack(f"<{count}f", *values))


def inputs(text, folder):
    """`{name:shape}` of a command becomes the path of a file written there."""
    def one(m):
        path = os.path.join(folder, m[1] + ".npy")
        write_npy(path, [int(n) for n in m[2].split(",")])
        return path
    return [re.sub(r"\{(\w+):([\d,]+)\}", one, word) for word in text.split()]


def call(ldm, words):
    done = subprocess.run([ldm] + words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        sys.exit(f"budgets: ldm {' '.join(words)}: status {done.returncode}: {done.stdout.strip()}")
    return done.stdout


def planned(line):
    """Figures of a `device memory:` line."""
    arenas = {k: float(v) * MIB for k, v in re.findall(r"(weights|activations|scratch) ([\d.]+) MiB", line)}
    return {"peak_bytes": sum(arenas.values()), "beside_weights_bytes": sum(arenas.values()) - arenas["weights"]}


def network(ldm, words, budget, folder):
    """Its row with all the memory there is, and that within the budget."""
    said = call(ldm, words + ["--whole", "--max-memory", f"{budget}M", "-o", os.path.join(folder, "y.npy")])
    within, whole = (planned(line) for line in re.findall(r"^device memory: .*$", said, re.M))
    took = re.search(r"in \S+ ([\d.]+) ms, with all the memory there is ([\d.]+) ms: ([\d.]+) times as long, (.*)", said)
    chosen = re.findall(r"^(?!device memory|run |in |\d+ programs).*\S$", said, re.M)
    return [{**whole, "seconds": float(took[2]) * 1e-3},
            {"budget_bytes": budget * MIB, **within, "seconds": float(took[1]) * 1e-3, "time_ratio": float(took[3]),
             "same_bits": took[4] == "the same bits", "chosen": "; ".join(chosen)}]


def pipeline(ldm, words, budget, folder):
    latent = os.path.join(folder, "latent.npy")
    limit = ["--max-memory", f"{budget}M"] if budget else []
    said = call(ldm, words + limit + ["-v", "--json", "-o", os.path.join(folder, "out.png"), "--save-latent", latent])
    with open(latent, "rb") as f:
        digest = hashlib.sha256(f.read()).hexdigest()
    row = {"latent_sha256": digest, "seconds": json.loads(re.search(r"^\{.*\}$", said, re.M)[0])["seconds"],
           "peak_bytes": float(re.search(r"device memory: ([\d.]+) MiB were allocated at most", said)[1]) * MIB}
    if budget:
        row |= {"budget_bytes": budget * MIB, "chosen": re.search(r"^memory: (.*); peak", said, re.M)[1]}
    return [row]


def main():
    p = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    p.add_argument("--build", default="build/release")
    p.add_argument("-o", "--out", help="file to write (default: results/budgets-<device>-<date>.json)")
    o = p.parse_args()
    ldm = os.path.join(o.build, "ldm")
    served = subprocess.run([os.path.join(o.build, "ldm-bench"), "--serve"], input="header\n", stdout=subprocess.PIPE, text=True, check=True)
    header = json.loads(served.stdout.splitlines()[0])["header"]
    header["command"] = "bench/budgets.py"
    rows, missed = [], []
    with tempfile.TemporaryDirectory() as folder:
        for what, text, budgets in WORKS:
            words = inputs(text, folder)
            command = "ldm " + re.sub(r"\{(\w+):[\d,]+\}", r"\1.npy", text)
            for budget, wanted in budgets:
                for r in (network if words[0] == "run" else pipeline)(ldm, words, budget, folder):
                    within = "budget_bytes" in r
                    rows.append({"what": what, "command": command + (f" --max-memory {budget}M" if within else "")} | r)
                    if within and wanted:
                        rows[-1]["wanted"] = wanted
                        missed += [rows[-1]["command"] for k, most in wanted.items() if r[k] > most]
                    print(f"{what:50} {f'{budget} MiB' if within else '-':>9} peak {r['peak_bytes'] / MIB:7.1f} MiB "
                          f"{r['seconds']:7.2f} s  {r.get('chosen', '')}", flush=True)
    device = re.sub(r"[^a-z0-9]+", "-", header["device"]["name"].lower()).strip("-")
    path = o.out or f"results/budgets-{device}-{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}.json"
    with open(path + ".tmp", "w") as f:
        json.dump({"header": header, "rows": rows}, f, indent=1)
        f.write("\n")
    os.replace(path + ".tmp", path)
    print(path)
    if missed:
        sys.exit("budgets: more memory than wanted: " + "; ".join(missed))


if __name__ == "__main__":
    main()
