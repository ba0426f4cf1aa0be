#!/usr/bin/env python3
"""networks.py -- whole networks, ours against PyTorch, torch.compile, OpenVINO, ONNX Runtime and MNN: the same weights and inputs,
results compared, then timed in pairs on one machine. bench/README.md says how to repeat a figure.

Of each work `ldm run --save-weights` writes the synthetic weights; the peers get them through tests/oracle's networks. A peer is
a process of its own (network_peer.py). It is started once to fill its caches and to compare results (a largest difference above
a thousandth of the largest value ends it there), then again for the time from start to first step done and the peak of memory.
Then ours and the peer run in turn, the other one stopped by signal; the best of each counts. One peer is alive at a time, and
each is compared with the times of ours taken in turn with its own. Every finished pair is added to
results/networks-<device>-<date>.json; what that file held of other works and peers is kept. Needs `make peers-venv`."""
import argparse, datetime, fnmatch, glob, json, os, re, shutil, signal, statistics, subprocess, sys, threading, time

import numpy as np
from network_peer import PEERS
from peers import Server, busy_ticks

here = os.path.dirname(os.path.abspath(__file__))
SEED = 20
LIMIT = 1e-3  # of the largest value
REPEAT = ("--repeat", "3")

# paper table 13, as in host/model/configs.c: channels, side of the latent, model_channels, channel_mult, attention factors
CIN = {1: (3, 256, 192, "1,1,2,2,4,4", "8,16,32"), 4: (3, 64, 192, "1,2,3,5", "2,4,8"), 8: (4, 32, 256, "1,2,4", "1,2,4"),
       16: (8, 16, 256, "1,2,4", "1,2,4"), 32: (32, 8, 256, "1,2,4", "1,2,4")}
UNET = "in_channels={0} out_channels={0} model_channels={1} channel_mult={2} attention_resolutions={3} num_res_blocks=2 " \
       "use_spatial_transformer=1 transformer_depth=1 num_heads={4} context_dim={5}"
STAGES = {"kl-f8": (8, "kind=kl z_channels=4 embed_dim=4 ch=128 ch_mult=1,2,4,4 num_res_blocks=2"),
          "vq-f4": (4, "kind=vq z_channels=3 embed_dim=3 n_embed=8192 ch=128 ch_mult=1,2,4 num_res_blocks=2")}


class Work:
    """net: as `ldm run` has it; gflop: about, for the estimate of time; shape of x; context [tokens, width]; wtype: what
    our weights are kept as, everything else and all of the peers is f32; starts: warm ones, of which the fastest counts."""

    def __init__(self, name, about, net, config, gflop, weights_gb, shape, context=None, wtype="f32", starts=1):
        self.name, self.about, self.net, self.config, self.gflop, self.weights_gb = name, about, net, config, gflop, weights_gb
        self.shape, self.context, self.wtype, self.starts = shape, context, wtype, starts
        self.part = net.split(":")[1]
        self.limit = LIMIT if wtype == "f32" else 1e-2

    def minutes(self, peers, rounds):
        """A guess from the two-core machine this was written on: files, then each peer's starts and rounds."""
        a_run, compile_s = self.gflop / 150, 200 if "torch-compile" in peers else 0
        seconds = 60 * self.weights_gb + compile_s + len(peers) * ((1 + self.starts) * (5 + 3 * self.weights_gb + a_run) + 2 * rounds * a_run)
        return max(1, round(seconds / 60))


def cin(f, gflop, batch=1, wtype="f32", starts=1):
    c, side, width, mult, attention = CIN[f]
    name = f"cin-ldm-{f}" + (f"-b{batch}" if batch > 1 else "") + (f"-{wtype}" if wtype != "f32" else "")
    about = f"LDM-{f} UNet step" + (f", batch {batch}" if batch > 1 else "") + (f", our weights {wtype}" if wtype != "f32" else "")
    return Work(name, about, f"cin-ldm-{f}:unet", UNET.format(c, width, mult, attention, 1, 512), gflop, 1.58,
                (batch, c, side, side), (1, 512), wtype, starts)


def stage(kind, part, side, gflop):
    f, config = STAGES[kind]
    z = int(re.search(r"z_channels=(\d+)", config)[1])
    shape = (1, 3, side, side) if part == "encode" else (1, z, side // f, side // f)
    return Work(f"{kind}-{part}-{side}", f"{kind} {part} {side} x {side}", f"{kind}:{part}r", config, gflop, 0.2, shape)


WORKS = [cin(8, 114, starts=3), cin(4, 208), cin(8, 229, batch=2), cin(8, 915, batch=8), cin(16, 27), cin(32, 7), cin(32, 7, wtype="f16"),
         cin(1, 1188), Work("sd15", "SD 1.5 UNet step 512 x 512", "sd15:unet", UNET.format(4, 320, "1,2,4,4", "1,2,4", 8, 768), 803, 3.44,
                            (1, 4, 64, 64), (77, 768)),
         stage("kl-f8", "decode", 512, 2515), stage("kl-f8", "decode", 256, 622), stage("kl-f8", "encode", 256, 280),
         stage("vq-f4", "decode", 256, 400), stage("vq-f4", "encode", 256, 200)]


class Watch(threading.Thread):
    """The largest memory of a process while it lives or is watched: anonymous (PoCL's device memory is that, too) with shared, by
    looking every 5 ms, and everything resident, file mappings included."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.anonymous, self.resident, self.on = pid, 0, 0, True
        self.start()

    def run(self):
        while self.on:
            try:
                with open(f"/proc/{self.pid}/status") as f:
                    kib = {k: int(v) for k, v in re.findall(r"(VmHWM|RssAnon|RssShmem):\s+(\d+)", f.read())}
            except (FileNotFoundError, ProcessLookupError):
                return
            self.anonymous = max(self.anonymous, 1024 * (kib.get("RssAnon", 0) + kib.get("RssShmem", 0)))
            self.resident = max(self.resident, 1024 * kib.get("VmHWM", 0))
            time.sleep(0.005)

    def stop(self):
        self.on = False
        self.join()
        return {"peak_anonymous_bytes": self.anonymous, "peak_resident_bytes": self.resident}


class Bench:
    def __init__(self, o):
        self.o, self.threads = o, len(os.sched_getaffinity(0))
        self.device = ["--device", o.device] if o.device else []
        self.ldm = os.path.join(o.build, "ldm")

    def open(self):
        """Our server and the results file so far."""
        self.server = Server("ldm", [os.path.join(self.o.build, "ldm-bench"), "--serve"] + self.device)
        self.header = self.server.ask("header")["header"]
        # where the files lie is this machine's own affair
        self.header["command"] = re.sub(r" --files[ =]\S+", "", " ".join(["bench/networks.py"] + sys.argv[1:]))
        self.header["threads"] = self.threads
        self.header["method"] = "best of interleaved pairs ours, peer, ours, peer ...; the idle one stopped by signal"
        device = re.sub(r"[^a-z0-9]+", "-", self.header["device"]["name"].lower()).strip("-")
        self.path = self.o.out or f"results/networks-{device}-{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%d}.json"
        self.rows = {}
        if os.path.exists(self.path):
            with open(self.path) as f:
                self.rows = {r["work"]: r for r in json.load(f)["rows"]}

    def write(self):
        order = [w.name for w in WORKS]
        rows = sorted(self.rows.values(), key=lambda r: order.index(r["work"]))
        os.makedirs(os.path.dirname(self.path) or ".", exist_ok=True)
        with open(self.path + ".tmp", "w") as f:
            json.dump({"header": self.header, "rows": rows}, f, indent=1)
            f.write("\n")
        os.replace(self.path + ".tmp", self.path)

    # ---- files: inputs, weights, the peers' formats

    def folder(self, work):
        """One for all works that are the same to the peers."""
        path = os.path.join(self.o.files or os.path.join(self.o.build, "networks"), work.name.removesuffix("-f16"))
        os.makedirs(path, exist_ok=True)
        return path

    def lay_out(self, work):
        """Inputs, our weights and work.json; skipped where a folder has them already."""
        folder = self.folder(work)
        at = lambda name: os.path.join(folder, name)
        if os.path.exists(at("work.json")):
            return
        g = np.random.default_rng(1)
        normal = lambda *shape: g.standard_normal(shape, dtype=np.float32)
        part = work.part
        subprocess.run([self.ldm, "run", part, "--config", work.net.split(":")[0], "--synthetic", str(SEED), "--save-weights",
                        at("weights.safetensors")], check=True)
        x = normal(*work.shape)
        if work.net == "vq-f4:decoder":  # codewords, so that no two are equally near
            from safetensors.numpy import load_file

            book = next(v for k, v in load_file(at("weights.safetensors")).items() if k.endswith("quantize.embedding.weight"))
            n, c, h, w = work.shape
            x = book[g.integers(len(book), size=n * h * w)].reshape(n, h, w, c).transpose(0, 3, 1, 2).copy()
        np.save(at("x.npy"), x)
        if part == "unet":
            np.save(at("t.npy"), np.array([321], np.float32))
            np.save(at("context.npy"), normal(work.shape[0], *work.context))
        with open(at("work.json"), "w") as f:
            json.dump({"part": part, "config": work.config}, f)

    def python(self, *args):
        return [sys.executable, os.path.join(here, "network_peer.py"), *map(str, args)]

    def room(self, work):
        """A peer that swaps or falls to the kernel's memory killer measures nothing."""
        with open("/proc/meminfo") as f:
            free = int(re.search(r"MemAvailable:\s+(\d+)", f.read())[1]) * 1024e-9
        wanted = 2 + 3 * work.weights_gb
        if free < wanted:
            sys.exit(f"only {free:.1f} GB of memory are free, about {wanted:.1f} GB are needed")

    def convert(self, work, kind):
        folder = self.folder(work)
        if os.path.exists(os.path.join(folder, "model." + kind)):
            return
        self.room(work)
        print(f"{work.name}: converting to {kind}", flush=True)
        status = 1
        try:
            p = subprocess.run(self.python("convert", kind, folder), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            status = p.returncode
        finally:
            if status:  # half a file is none
                for path in glob.glob(os.path.join(folder, "model." + kind + "*")):
                    os.remove(path)
        if status:
            lines = [v for v in p.stdout.splitlines() if v.strip()]
            sys.exit(f"conversion to {kind} failed with status {status}: {lines[-1][:300] if lines else ''}")

    def prepare(self, work, peer):
        """Its file, its caches, its result; what is there already stays."""
        for kind in {"openvino": ["onnx"], "onnxruntime": ["onnx"], "mnn": ["onnx", "mnn"]}.get(peer, []):
            self.convert(work, kind)
        if not os.path.exists(os.path.join(self.folder(work), f"y-{peer}.npy")):
            self.start_peer(work, peer)[0].end()

    # ---- ours

    def run_ours(self, work, *more, later=()):
        """`ldm run` as a user has it: seconds from process start to first step done, memory to its end, result."""
        folder = self.folder(work)
        at = lambda name: os.path.join(folder, name)
        names = ["x", "t", "context"] if work.part == "unet" else ["x"]
        command = [self.ldm, "run", work.part, "--config", work.net.split(":")[0], "--wtype", work.wtype, "-m", at("weights.safetensors"),
                   *self.device, *(more or ("--out", at("y.npy"))), *later]
        for n in names:
            command += ["--in", f"{'z' if work.part == 'decoder' else n}={at(n + '.npy')}"]
        start = time.perf_counter()
        p = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        watch = Watch(p.pid)
        line = p.stdout.readline()
        seconds = time.perf_counter() - start
        steps = [float(v) * 1e-3 for v in re.findall(r"run \d+: ([0-9.]+) ms", line + p.stdout.read())]
        if p.wait() != 0 or not line.startswith("run 1"):
            sys.exit(f"{work.name}: `{' '.join(command)}` failed with status {p.returncode}")
        return {"start_s": seconds, "step_s": min(steps), **watch.stop()}

    def ours(self, work):
        help_text = subprocess.run([self.ldm, "run", "--help"], capture_output=True, text=True).stdout
        once = min((self.run_ours(work) for _ in range(1 + work.starts)), key=lambda r: r["start_s"])  # reads weights in place
        out = self.run_ours(work, later=REPEAT)  # memory and result as they are while steps repeat
        out.update(start_repeating_s=out["start_s"], start_s=once["start_s"], peak_anonymous_once_bytes=once["peak_anonymous_bytes"])
        if "--low-memory" in help_text:
            out["low_memory"] = self.run_ours(work, "--low-memory", "--out", os.path.join(self.folder(work), "y-low-memory.npy"), later=REPEAT)
        return out

    def time_ours(self):
        answer = self.server.ask("time net")
        if "error" in answer:
            raise RuntimeError("ours: " + answer["error"])
        return answer["seconds"]

    # ---- a peer beside ours

    def start_peer(self, work, peer):
        """(server, what its start showed). The start is a process's: interpreter, library, network, one run."""
        self.room(work)
        start = time.perf_counter()
        s = Server(peer, self.python("serve", peer, self.folder(work), self.threads))
        watch = Watch(s.process.pid)
        answer = s.ask("start")
        seen = {"start_s": time.perf_counter() - start, **watch.stop()}
        if "error" in answer:
            s.end()
            sys.exit(answer["error"])
        return s, {"version": answer["version"], **seen}

    def pair(self, work, peer, rounds):
        y, ours = (np.load(os.path.join(self.folder(work), f)) for f in (f"y-{peer}.npy", "y.npy"))
        difference = float(np.abs(y - ours).max() / np.abs(ours).max()) if y.shape == ours.shape else float("inf")
        if not difference < work.limit:
            sys.exit(f"its result differs from ours by {difference:.1e} of the largest value; not timed")
        starts = []
        for i in range(work.starts):
            s, seen = self.start_peer(work, peer)
            starts.append(seen)
            if i < work.starts - 1:
                s.end()
        warm = min(starts, key=lambda v: v["start_s"])
        times, ours_times = [], []
        busy0, own0 = busy_ticks([self.server.process.pid, s.process.pid])
        for _ in range(rounds):
            ours_times.append(self.time_ours())
            times.append(s.ask("time")["seconds"])
        busy1, own1 = busy_ticks([self.server.process.pid, s.process.pid])
        s.end()
        return {"seconds": min(times), "median_s": statistics.median(times), "ours_s": min(ours_times), "ours_median_s": statistics.median(ours_times),
                "ratio": min(times) / min(ours_times), "max_difference": difference, **warm,
                "other_load": round(max(0, (busy1 - busy0) - (own1 - own0)) / max(1, busy1 - busy0), 3),
                "all_s": [round(t, 5) for t in times], "ours_all_s": [round(t, 5) for t in ours_times]}

    def measure(self, work, peers, rounds):
        """One work: a row of the results file."""
        folder = os.path.abspath(self.folder(work))
        stamp = {"date": self.header["date"], "commit": self.header["commit"], "command": self.header["command"], "rounds": rounds}
        row = self.rows.setdefault(work.name, {"work": work.name, "peers": {}})
        row.update(about=work.about, net=work.net, shape=work.shape, wtype=work.wtype, **stamp)
        row["ours"] = self.ours(work)
        opened = self.server.ask(f"net {work.net} {work.shape[0]}x{work.shape[2]}x{work.shape[3]} f32*{work.wtype} {folder}/weights.safetensors")
        if "error" in opened:
            sys.exit(f"{work.name}: {opened['error']}")
        row["flops"], row["params"] = opened["flops"], opened["params"]
        for peer in peers:
            try:
                self.prepare(work, peer)
                entry = self.pair(work, peer, rounds)
                print(f"{work.name:18} {peer:20} {entry['seconds']:8.3f} s, ours {entry['ours_s']:7.3f} s, ratio {entry['ratio']:5.2f}; start "
                      f"{entry['start_s']:5.1f} s, ours {row['ours']['start_s']:5.1f}; peak {entry['peak_anonymous_bytes'] >> 20:6} MiB, ours "
                      f"{row['ours']['peak_anonymous_bytes'] >> 20:6}; results differ by {entry['max_difference']:.0e}, other load "
                      f"{100 * entry['other_load']:.0f} %", flush=True)
            except SystemExit as e:
                entry = {"absent": str(e)}
                print(f"{work.name:18} {peer:20} absent: {e}", flush=True)
            row["peers"][peer] = {**entry, **stamp}
            row.update(judge(row))
            self.write()
        self.server.ask("close")


def judge(row):
    """The fastest peer, by the times of ours taken in turn with its own, since those of different days are not alike; the leanest
    and the quickest to start. Contiguous eager PyTorch is there for its times: its weights stay in the mapped file, which counts
    as no memory."""
    there = {k: v for k, v in row["peers"].items() if "absent" not in v}
    if not there:
        return {"fastest": None, "step_speed_over_peers": None}
    least = lambda key, keys: min(keys, key=lambda k: there[k][key])
    fastest, out = least("ratio", there), {}
    rest = [k for k in there if k != "torch"]
    if rest:
        lean, quick = least("peak_anonymous_bytes", rest), least("start_s", rest)
        out = {"leanest": lean, "memory_over_leanest": row["ours"]["peak_anonymous_bytes"] / there[lean]["peak_anonymous_bytes"],
               "quickest": quick, "start_speed_over_peers": there[quick]["start_s"] / row["ours"]["start_s"]}
    return {"fastest": fastest, "step_speed_over_peers": there[fastest]["ratio"], **out}


def main():
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("--only", default="*", help="works, by name or pattern, with commas: 'cin-ldm-8,kl-f8-*' (--list names them)")
    ap.add_argument("--peers", default=",".join(PEERS), help="default: %(default)s")
    ap.add_argument("--rounds", type=int, default=7, help="pairs of runs timed (default 7)")
    ap.add_argument("--prepare", action="store_true", help="only lay out files, convert and warm caches; time nothing")
    ap.add_argument("--keep", action="store_true", help="keep the files of a work for the next run")
    ap.add_argument("--files", help="their folder (default BUILD/networks)")
    ap.add_argument("--list", action="store_true", help="name the works and end")
    ap.add_argument("--build", default="build/release")
    ap.add_argument("--device", help="as for ldm")
    ap.add_argument("-o", "--out", help="results file")
    o = ap.parse_args()
    works = [w for w in WORKS if any(fnmatch.fnmatch(w.name, p) for p in o.only.split(","))]
    peers = o.peers.split(",")
    if not works or set(peers) - set(PEERS):
        sys.exit(f"networks: no such work or peer: '{o.only}', '{o.peers}'; works are {' '.join(w.name for w in WORKS)}; peers {' '.join(PEERS)}")
    if o.list:
        return print("\n".join(f"{w.name:20} about {w.minutes(peers, o.rounds):3} min  {w.about}" for w in works))
    os.environ.pop("OPENBLAS_CORETYPE", None)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    bench = Bench(o)
    if not o.prepare:
        bench.open()
    for i, work in enumerate(works):
        print(f"{work.name}: {work.about}; {len(works) - i} works to go, about {sum(w.minutes(peers, o.rounds) for w in works[i:])} minutes",
              flush=True)
        bench.lay_out(work)
        if not o.prepare:
            bench.measure(work, peers, o.rounds)
        for peer in peers if o.prepare else ():
            try:
                bench.prepare(work, peer)
            except SystemExit as e:
                print(f"{work.name} {peer}: {e}", flush=True)
        folders = {bench.folder(w) for w in works[i + 1:]}
        if not (o.keep or o.prepare or bench.folder(work) in folders):
            shutil.rmtree(bench.folder(work))
    if not o.prepare:
        bench.server.end()
        print(bench.path)


if __name__ == "__main__":
    main()
