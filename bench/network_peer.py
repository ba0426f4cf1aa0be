#!/usr/bin/env python3
"""network_peer.py -- one library running one network, as a process of its own that bench/networks.py talks to.

    network_peer.py convert onnx|mnn FOLDER          the network's weights as a file of that kind, in FOLDER
    network_peer.py serve PEER FOLDER THREADS        one-line commands on standard input, one line of JSON each in answer:
        start    loads the network, runs it once, writes its result to FOLDER/y-PEER.npy; the library's version
        time     seconds of one run

FOLDER is what networks.py lays out: work.json, weights.safetensors (the authors' names) and the inputs as .npy. Each peer gets
what its own manual offers for speed on a CPU: see the functions below. A library is imported by its own peer only."""
import functools, json, os, sys, time

os.environ.update(HF_HUB_OFFLINE="1", DO_NOT_TRACK="1")
here = os.path.dirname(os.path.abspath(__file__))
sys.path.append(os.path.join(here, "..", "tests", "oracle"))
import numpy as np


class Work:
    """The folder: what is to run and on which inputs. In networks of one input that is called x."""

    def __init__(self, folder, threads):
        self.folder, self.threads = folder, threads
        with open(self.path("work.json")) as f:
            told = json.load(f)
        self.part, self.config = told["part"], told["config"]
        self.names = ["x", "t", "context"] if self.part == "unet" else ["x"]
        self.inputs = {n: np.load(self.path(n + ".npy")) for n in self.names}

    def path(self, name):
        return os.path.join(self.folder, name)


# ---- PyTorch: diffusers' networks with the weights assigned from the mapped file, nothing copied ----------------------------


def torch_network(work):
    import torch
    from safetensors.torch import load_file
    import nets_diffusers as hf
    from witness import parse  # it turns gradients off, too

    torch.set_num_threads(work.threads)
    c, state = parse(work.config), load_file(work.path("weights.safetensors"))
    for prefix in ("model.diffusion_model.", "first_stage_model."):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    with torch.device("meta"):
        model = hf.build_unet(c) if work.part == "unet" else hf.build_autoencoder(c["kind"], c)
    if work.part == "unet":
        names = hf.unet_map(model, c)
    else:
        for other in ("decoder", "post_quant_conv", "quantize") if work.part == "encoder" else ("encoder", "quant_conv"):
            if hasattr(model, other):
                delattr(model, other)
        names = {k: (hf.autoencoder_name(k, len(c["ch_mult"])), None) for k in model.state_dict()}
    hf.load(model, names, state, assign=True)

    class Network(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x, t=None, context=None):
            if t is not None:
                return self.model(x, t, encoder_hidden_states=context).sample
            return self.model.quant_conv(self.model.encoder(x)) if work.part == "encoder" else self.model.decode(x).sample

    return Network().eval(), [torch.from_numpy(v) for v in work.inputs.values()]


def torch_eager(work, channels_last=False, compiled=False):
    import torch

    network, inputs = torch_network(work)
    if channels_last:
        network = network.to(memory_format=torch.channels_last)
        inputs[0] = inputs[0].to(memory_format=torch.channels_last)
    if compiled:
        os.environ.update(TORCHINDUCTOR_CACHE_DIR=work.path("inductor"), TORCHINDUCTOR_COMPILE_THREADS="1")
        import torch._inductor.config as inductor

        inductor.freezing = True  # weights become constants and are packed once
        network = torch.compile(network)
    return torch.__version__, lambda: network(*inputs).numpy()


# ---- the others read the network as ONNX ------------------------------------------------------------------------------------


def convert_onnx(work):
    import torch

    network, inputs = torch_network(work)
    torch.onnx.export(network, tuple(inputs), work.path("model.onnx"), input_names=work.names, output_names=["y"], dynamo=True)


def convert_mnn(work):
    """The converter's library itself: the command mnnconvert installs a logger by pip and reports to its vendor."""
    import _tools

    os.chdir(work.folder)  # where it leaves a copy of the weights
    _tools.mnnconvert(["mnnconvert", "-f", "ONNX", "--modelFile", "model.onnx", "--MNNModel", "model.mnn", "--bizCode", "ldm",
                       "--saveExternalData"])
    if not os.path.exists("model.mnn"):
        sys.exit("the converter made no file")


def openvino(work):
    import openvino as ov

    compiled = ov.Core().compile_model(work.path("model.onnx"), "CPU", {
        "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": work.threads,
        "CACHE_DIR": work.path("openvino")})
    request = compiled.create_infer_request()
    return ov.__version__, lambda: request.infer(work.inputs)[compiled.output(0)]


def onnxruntime(work):
    import onnxruntime as ort

    o = ort.SessionOptions()
    o.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    o.intra_op_num_threads, o.inter_op_num_threads = work.threads, 1
    session = ort.InferenceSession(work.path("model.onnx"), o, providers=["CPUExecutionProvider"])
    return ort.__version__, lambda: session.run(None, work.inputs)[0]


def mnn(work):
    import MNN

    manager = MNN.nn.create_runtime_manager(({"backend": "CPU", "precision": "high", "numThread": work.threads},))
    module = MNN.nn.load_module_from_file(work.path("model.mnn"), work.names, ["y"], runtime_manager=manager, shape_mutable=False,
                                          rearrange=True)
    inputs = [MNN.expr.const(v.ctypes.data, list(v.shape), MNN.expr.NCHW) for v in work.inputs.values()]
    return MNN.version(), lambda: np.array(module.forward(inputs)[0].read())


PEERS = {
    "torch": torch_eager,
    "torch-channels-last": functools.partial(torch_eager, channels_last=True),
    "torch-compile": functools.partial(torch_eager, channels_last=True, compiled=True),
    "openvino": openvino,
    "onnxruntime": onnxruntime,
    "mnn": mnn,
}


def serve(peer, work, out):
    run = None
    for line in sys.stdin:
        try:
            if line.strip() == "start":
                version, run = PEERS[peer](work)
                np.save(work.path(f"y-{peer}.npy"), run())
                answer = {"version": version}
            else:
                start = time.perf_counter()
                run()
                answer = {"seconds": time.perf_counter() - start}
        except Exception as e:
            answer = {"error": f"{type(e).__name__}: {' '.join(str(e).split())[:300]}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()


def main():
    with open("/proc/self/oom_score_adj", "w") as f:
        f.write("1000")  # where memory runs out, this process is the one to go
    out = os.fdopen(os.dup(1), "w")
    if sys.argv[1] == "convert":
        {"onnx": convert_onnx, "mnn": convert_mnn}[sys.argv[2]](Work(sys.argv[3], os.cpu_count()))
    else:
        work = Work(sys.argv[3], int(sys.argv[4]))
        log = os.open(work.path(sys.argv[2] + ".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(log, 1)  # what libraries print is not an answer
        os.dup2(log, 2)
        serve(sys.argv[2], work, out)


if __name__ == "__main__":
    main()
