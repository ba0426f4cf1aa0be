#!/usr/bin/env python3
"""peers.py -- our kernels against oneDNN, OpenBLAS and CLBlast on the same shapes in the same run, interleaved. Ours run as the
table chooses and, where that loses accuracy (Winograd), in the row --exact would choose too: "direct", held against the others'
direct algorithms.

Every library sits in its own process behind one-line commands (ldm-bench --serve, peer_onednn, peer_openblas); idle ones are
stopped by signal, so that a pool that spins cannot slow whoever runs. A shape is timed in rounds, everybody once a round;
medians count. OpenBLAS runs twice where the CPU has AVX-512: with the core it detects and with SkylakeX, because it falls
back to old kernels on CPUs it does not know; the better one counts. CLBlast is our own row gemm_clblast.
Writes results/peers-<device>-<date>.json and prints a table. Standard library only."""
import argparse, atexit, datetime, fnmatch, json, os, re, signal, statistics, subprocess, sys


CORES = {"AVX2": "Haswell", "AVX": "Sandybridge", "SSE41": "Nehalem"}  # OpenBLAS's names of what oneDNN calls an instruction set
VECTOR = {"AVX2": "8", "AVX": "8", "SSE41": "4"}  # floats of its registers: ours has no other name for it
WANTED = 0.85  # of the best direct peer's speed, for our direct rows


class Server:
    def __init__(self, name, command, env=None):
        self.name = name
        full = dict(os.environ, OMP_WAIT_POLICY="passive", **(env or {}))
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=full)
        atexit.register(self.process.kill)  # a stopped process outlives us otherwise
        self.stop()

    def stop(self):
        self.process.send_signal(signal.SIGSTOP)

    def ask(self, line):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        self.stop()
        if not answer:
            sys.exit(f"peers: {self.name} died at '{line}' with status {self.process.wait()}")
        return json.loads(answer)

    def end(self):
        self.process.send_signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


def problems(files, ops, pattern):
    """{problem: {net: count}} in the order of the files."""
    found = {}
    for path in files:
        net = os.path.basename(path).split(".")[0]
        for line in open(path):
            line = line.split("#")[0].strip()
            m = re.match(r"(?:(\d+) x )?(\S.*)", line)
            if not m or m[2].split(":")[0] not in ops or not re.match(r"\w+:f32 ", m[2]):
                continue
            if pattern and pattern not in m[2] and not fnmatch.fnmatch(m[2], pattern):
                continue
            found.setdefault(m[2], {})[net] = int(m[1] or 1)
    return found


def busy_ticks(pids):
    """Clock ticks all CPUs were busy, and those of our own processes."""
    fields = [int(v) for v in open("/proc/stat").readline().split()[1:9]]
    own = 0
    for pid in pids:
        stat = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
        own += int(stat[11]) + int(stat[12])
    return sum(fields) - fields[3] - fields[4], own


def time_shape(servers, text, rounds):
    """{(server, variant): [seconds]}, the answers to `open`."""
    times, opened = {}, {}
    for s in servers:
        opened[s.name] = s.ask("open " + text)
        for variant in opened[s.name].get("variants", []):
            times[s, variant] = []
    if "error" in opened["ldm"]:
        return None, opened
    for r in range(rounds):
        for (s, variant), seen in times.items():
            if r > 0 and s.name == "ldm" and "clblast" in variant and seen[0] > 0.5:
                continue  # an order of magnitude behind: once is enough
            answer = s.ask("time " + variant)
            if "seconds" in answer:
                seen.append(answer["seconds"])
    for s in servers:
        s.ask("close")
    return {(s.name, v): t for (s, v), t in times.items() if t}, opened


def row(text, uses, times, opened, other):
    own, direct = opened["ldm"]["variants"][0], opened["ldm"]["direct"]
    entries = {}
    for (server, variant), t in times.items():
        label = variant if server == "ldm" else f"{server}_{variant}"
        entries[label] = {"seconds": statistics.median(t), "best_s": min(t), "rounds": len(t),
                          "gflops": opened["ldm"]["flops"] / statistics.median(t) * 1e-9}
    peers = {k: v["seconds"] for k, v in entries.items() if k not in (own, direct)}
    out = {"problem": text, "op": text.split(":")[0], "impl": own, "direct_impl": direct, "uses": uses, "flops": opened["ldm"]["flops"],
           "seconds": entries[own]["seconds"], "direct_s": entries[direct]["seconds"], "gflops": entries[own]["gflops"],
           "other_load": round(other, 3), "all": entries}
    for kind, keep in (("", lambda k: True), ("_direct", lambda k: "winograd" not in k)):
        of = {k: v for k, v in peers.items() if keep(k)}
        if of:
            best = min(of, key=of.get)
            out["best_peer" + kind], out["speed_over_best" + kind] = best, of[best] / out["seconds"]  # above 1: we are faster
            if kind:
                out["direct_over_best_direct"] = of[best] / out["direct_s"]
    return out


def kind_of(r):
    return r["op"] if r["op"] != "conv2d" else "conv2d 3x3" if " r=3 s=3" in r["problem"] else "conv2d other"


def summary(rows):
    """Time of all uses of a kind of problem in its networks: best peer's over ours, against direct algorithms and against all."""
    out = {}
    for r in rows:
        if "speed_over_best" not in r:
            continue
        s = out.setdefault(kind_of(r), {"shapes": 0, "ours_s": 0, "direct_s": 0, "best_direct_s": 0, "best_s": 0})
        times = sum(r["uses"].values())
        s["shapes"] += 1
        s["ours_s"] += times * r["seconds"]
        s["direct_s"] += times * r["direct_s"]
        s["best_s"] += times * r["seconds"] * r["speed_over_best"]
        s["best_direct_s"] += times * r["seconds"] * r.get("speed_over_best_direct", r["speed_over_best"])
        if r.get("direct_over_best_direct", 9) < s.get("worst_direct", {}).get("direct_over_best_direct", 9):
            s["worst_direct"] = {k: r[k] for k in ("problem", "direct_over_best_direct", "best_peer_direct")}
    for s in out.values():
        s["speed_over_best_direct"], s["speed_over_best"] = s["best_direct_s"] / s["ours_s"], s["best_s"] / s["ours_s"]
        s["direct_over_best_direct"] = s["best_direct_s"] / s["direct_s"]
    return out


def print_summary(rows):
    rows = [r for r in rows if "failed" not in r]
    for kind, v in summary(rows).items():
        print(f"{kind}: {v['shapes']} shapes weighted by use: {v['speed_over_best_direct']:.2f} times the best direct peer, "
              f"{v['speed_over_best']:.2f} times the best of all; our direct rows {v['direct_over_best_direct']:.2f} times the best direct peer")
        worst = sorted((r for r in rows if kind_of(r) == kind and "direct_over_best_direct" in r), key=lambda r: r["direct_over_best_direct"])
        below = sum(r["direct_over_best_direct"] < WANTED for r in worst)
        print(f"  direct against direct, {below} of {len(worst)} below {WANTED}; the worst:")
        for r in worst[:5]:
            print(f"  {r['direct_over_best_direct']:6.2f}  {r['problem']} ({r['direct_impl']}, {r['best_peer_direct']})")


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("files", nargs="*", help="shape files (default: cin-ldm-8-unet, kl-f8-decoder, kl-f8-encoder and attention-heads of bench/shapes)")
    ap.add_argument("--build", default="build/release", help="folder of ldm-bench and the peer programs")
    ap.add_argument("--op", default="conv2d,gemm,attention", help="ops to compare")
    ap.add_argument("--filter", help="only problems containing this text")
    ap.add_argument("--rounds", type=int, default=7)
    ap.add_argument("--device", help="as for ldm")
    ap.add_argument("--isa", help="hold oneDNN and OpenBLAS to this instruction set, ours to its vectors: AVX2")
    ap.add_argument("--ldm", default="", help="options for our own side, as `ldm` has them: --ldm='--exact'")
    ap.add_argument("-o", "--out", help="results file")
    o = ap.parse_args()
    files = o.files or [f"bench/shapes/{n}.txt" for n in ("cin-ldm-8-unet", "kl-f8-decoder", "kl-f8-encoder", "attention-heads")]
    shapes = problems(files, o.op.split(","), o.filter)
    if not shapes:
        sys.exit("peers: no f32 problem of these ops in " + ", ".join(files))
    run = lambda name: os.path.join(o.build, name)
    width = {"LDM_VECTOR_WIDTH": VECTOR[o.isa]} if o.isa in VECTOR else {}
    servers = [Server("ldm", [run("ldm-bench"), "--serve"] + (["--device", o.device] if o.device else []) + o.ldm.split(), width)]
    versions, absent = {}, {}
    held = {"ONEDNN_MAX_CPU_ISA": o.isa} if o.isa else {}
    wanted = [("onednn", "peer_onednn", held)]
    if o.isa:
        wanted += [("openblas", "peer_openblas", {"OPENBLAS_CORETYPE": CORES.get(o.isa, o.isa)})]
    else:
        wanted += [("openblas", "peer_openblas", {}), ("openblas_skylakex", "peer_openblas", {"OPENBLAS_CORETYPE": "SkylakeX"})]
    for name, program, env in wanted:
        if not os.path.exists(run(program)):
            absent[name] = f"{program} was not built: its library is not installed"
        elif name == "openblas_skylakex" and "avx512f" not in open("/proc/cpuinfo").read():
            absent[name] = "the processor has no AVX-512"
        else:
            versions[name] = subprocess.run([run(program), "--core"], env=dict(os.environ, **env), capture_output=True, text=True).stdout.strip()
            servers.append(Server(name, [run(program)], env))
    for name, why in absent.items():
        print(f"peers: {name} is absent: {why}", file=sys.stderr)
    header = servers[0].ask("header").get("header")
    if not header:
        sys.exit("peers: our own server gives no header")
    header["command"] = " ".join(["bench/peers.py"] + sys.argv[1:])
    header["peers"], header["absent"] = versions, absent
    if o.isa:
        header["isa"] = o.isa
    header["method"] = f"median of {o.rounds} interleaved rounds, each at least 0.02 s after one warm-up run; idle processes stopped"
    rows, pids = [], [s.process.pid for s in servers]
    print(f"{'ours GF':>8} {'best GF':>8} {'ratio':>6} {'direct':>6} {'other':>5}  problem (best peer)   [ratio: best of all / ours; direct: best direct / our direct row]")
    for text, uses in shapes.items():
        busy0, own0 = busy_ticks(pids)
        times, opened = time_shape(servers, text, o.rounds)
        busy1, own1 = busy_ticks(pids)
        if times is None:
            print(f"{'failed':>8} {text}: {opened['ldm']['error']}")
            rows.append({"problem": text, "failed": opened["ldm"]["error"]})
            continue
        r = row(text, uses, times, opened, max(0, (busy1 - busy0) - (own1 - own0)) / max(1, busy1 - busy0))
        rows.append(r)
        best = r.get("best_peer", "-")
        print(f"{r['gflops']:8.1f} {r['all'].get(best, {}).get('gflops', 0):8.1f} {r.get('speed_over_best', 0):6.2f} "
              f"{r.get('direct_over_best_direct', 0):6.2f} {100 * r['other_load']:4.0f}%  {text} ({best})", flush=True)
    for s in servers:
        s.end()
    device = re.sub(r"[^a-z0-9]+", "-", header["device"]["name"].lower()).strip("-")
    path = o.out or f"results/peers-{o.isa.lower() + '-' if o.isa else ''}{device}-{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}.json"
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    with open(path + ".tmp", "w") as f:
        json.dump({"header": header, "summary": summary(rows), "rows": rows}, f, indent=1)
        f.write("\n")
    os.replace(path + ".tmp", path)
    print_summary(rows)
    print(f"{len(rows)} shapes: {path}")
    sys.exit(1 if any("failed" in r for r in rows) else 0)


if __name__ == "__main__":
    main()
