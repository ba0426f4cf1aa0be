"""random_numbers.py -- makes tests/fixtures/random: torch.rand and torch.randn of PyTorch's CPU generator for lengths around
the block boundaries, and the CUDA generator's normals as stable-diffusion.cpp re-implements them.

    .venv/bin/python tests/oracle/random_numbers.py --sdcpp STABLE_DIFFUSION_CPP

Of each length the first and last values are kept and some between, and for uniforms a hash of all of their bytes.
"""
import argparse
import hashlib
import json
import os
import subprocess
import tempfile

import torch

OUT = os.path.join(os.path.dirname(__file__), "..", "fixtures", "random")
LENGTHS = [*range(1, 36), 47, 48, 49, 623, 624, 625, 639, 640, 641, 1000, 1247, 1248, 1249, 4096, 16384, 65535, 99984,
           99993, 99999, 100000]


def places(n):
    return sorted({*range(min(n, 4)), *range(max(n - 20, 0), n), *range(0, n, max(n // 12, 1))})


def run(seed, lengths):
    """Calls in a row of one generator."""
    g = torch.Generator().manual_seed(seed)
    calls = []
    for n in lengths:
        x = torch.randn(n, generator=g, dtype=torch.float32)
        calls.append(dict(n=n, at=places(n), value=[float(x[i]) for i in places(n)]))
    return dict(seed=str(seed), calls=calls)


def uniform(seed, n):
    x = torch.rand(n, generator=torch.Generator().manual_seed(seed), dtype=torch.float32)
    return dict(seed=str(seed), n=n, sha256=hashlib.sha256(x.numpy().tobytes()).hexdigest())


PROGRAM = """
#include "core/rng_philox.hpp"
#include <cstdio>
int main() {
    const unsigned long long seeds[] = {0, 1, 42, 123456789012345ull, 18446744073709551615ull};
    for (auto s : seeds) {
        PhiloxRNG r;
        r.manual_seed(s);
        for (int n : {5, 300, 16384}) {
            auto x = r.randn(n);
            std::printf("%llu %d", s, n);
            for (int i = 0; i < n; i += n / 5) std::printf(" %d %.9g", i, x[i]);
            std::printf("\\n");
        }
    }
}
"""


def philox(root):
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "p.cpp"), "w") as f:
            f.write(PROGRAM)
        subprocess.run(["g++", "-std=c++17", "-O1", "-I", os.path.join(root, "src"), "-o", d + "/p", d + "/p.cpp"],
                       check=True)
        lines = subprocess.run([d + "/p"], capture_output=True, text=True, check=True).stdout.splitlines()
    out = {}
    for line in lines:
        seed, n, *rest = line.split()
        out.setdefault(seed, []).append(dict(n=int(n), at=[int(v) for v in rest[::2]],
                                             value=[float(v) for v in rest[1::2]]))
    return [dict(seed=s, calls=c) for s, c in out.items()]


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--sdcpp", required=True)
    a = p.parse_args()
    cpu = [run(n * 7919 + 1, [n]) for n in LENGTHS]
    cpu += [run(2**32 + 5, [3, 20, 5, 16, 1, 700, 2]), run(99, [15, 15, 17, 15]), run(0, [1] * 9)]
    commit = subprocess.run(["git", "-C", a.sdcpp, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    data = dict(versions={"torch": torch.__version__, "leejet/stable-diffusion.cpp": commit}, cpu=cpu,
                uniform=[uniform(n + 3, n) for n in LENGTHS], cuda=philox(a.sdcpp))
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "fixture.json"), "w") as f:
        f.write("{\n" + ",\n".join('"%s": %s' % (k, json.dumps(v) if k == "versions" else
                                                 "[\n" + ",\n".join(json.dumps(e) for e in v) + "\n]")
                                   for k, v in data.items()) + "\n}\n")
