"""samplers.py -- makes tests/fixtures/samplers: what the samplers that we follow do with a network that is a formula.

    .venv/bin/python tests/oracle/samplers.py --clone CLONE --sd STABLE_DIFFUSION --sd2 STABLEDIFFUSION --k K_DIFFUSION

CompVis/latent-diffusion (DDIM, PLMS), CompVis/stable-diffusion (dpm_solver), Stability-AI/stablediffusion (v-prediction),
crowsonkb/k-diffusion, and diffusers with scipy (for LMS). All state is in f64; the tables are f32 where the programs have
them so. A case is its options, the noise it was given in the order it was asked for, every time and input that the network
saw, and the latent at the end.
"""
import argparse
import importlib
import importlib.util
import json
import os
import subprocess
import sys
import types

import numpy as np
import torch

SIZE = 6
START, END = 0.00085, 0.012
OUT = os.path.join(os.path.dirname(__file__), "..", "fixtures", "samplers")


def network(x, t):
    """The formula; tests/test_samplers.c has it too."""
    t = torch.as_tensor(t, dtype=torch.float64)
    return 0.6 * torch.sin(1.7 * x + 0.3) + 0.35 * x * torch.cos(t / 150) + 0.1 * torch.sin(t / 20)


class Trace:
    """The network, and what it saw."""

    def __init__(self):
        self.times, self.inputs = [], []

    def __call__(self, x, t):
        t = float(torch.as_tensor(t, dtype=torch.float64).flatten()[0])
        self.times.append(t)
        self.inputs.append(x.double().flatten().tolist())
        return network(x.double(), t).reshape(x.shape)


class Noise:
    """Numbers given out call by call."""

    def __init__(self, seed):
        self.g = torch.Generator().manual_seed(seed)
        self.given = []

    def __call__(self, *a, **k):
        n = torch.randn(1, 1, 1, SIZE, generator=self.g, dtype=torch.float64)
        self.given.append(n.flatten().tolist())
        return n


def alphas():
    beta = np.linspace(START**0.5, END**0.5, 1000, dtype=np.float64) ** 2
    return beta, np.cumprod(1 - beta)


def begin(seed):
    g = torch.Generator().manual_seed(seed)
    return [torch.randn(1, 1, 1, SIZE, generator=g, dtype=torch.float64) for _ in range(2)]  # noise, z0


CASES = []


def case(name, trace, noise, x, **options):
    CASES.append(dict(name=name, times=trace.times, inputs=trace.inputs, noise=noise.given,
                      final=x.double().flatten().tolist(), **options))


# ---- the authors ----------------------------------------------------------------------------------------------------


class AuthorsModel:
    """What DDIMSampler, PLMSSampler and DPMSolverSampler ask of a LatentDiffusion."""

    def __init__(self, trace, noise, parameterization="eps"):
        beta, a = alphas()
        self.num_timesteps, self.device, self.parameterization = 1000, torch.device("cpu"), parameterization
        self.betas = torch.tensor(beta, dtype=torch.float32)
        self.alphas_cumprod = torch.tensor(a, dtype=torch.float32)
        self.alphas_cumprod_prev = torch.cat([torch.ones(1), self.alphas_cumprod[:-1]])
        self.trace, self.noise = trace, noise
        self.first_stage_model = types.SimpleNamespace(quantize=lambda z: (torch.round(z * 2) / 2, None, None))

    def apply_model(self, x, t, c):
        return self.trace(x, t)

    def q_sample(self, x0, t):
        a = self.alphas_cumprod[int(t[0])].double()
        return a.sqrt() * x0 + (1 - a).sqrt() * self.noise()

    def at(self, t):
        a = self.alphas_cumprod[int(t[0])].double()
        return a.sqrt(), (1 - a).sqrt()

    def predict_eps_from_z_and_v(self, x, t, v):
        s, n = self.at(t)
        return s * v + n * x

    def predict_start_from_z_and_v(self, x, t, v):
        s, n = self.at(t)
        return s * x - n * v


def authors_module(clone, name):
    for k in [k for k in sys.modules if k == "ldm" or k.startswith("ldm.")]:
        del sys.modules[k]
    sys.path.insert(0, clone)
    for stub in ("pytorch_lightning", "taming"):
        sys.modules.setdefault(stub, types.ModuleType(stub))
    m = importlib.import_module(name)
    sys.path.remove(clone)
    return m


def keep_on_cpu(cls):
    cls.register_buffer = lambda self, name, attr: setattr(self, name, attr)
    return cls


def authors(clone, sd, sd2):
    shape = (1, 1, SIZE)
    for where, prediction, root in ((clone, "eps", "latent-diffusion"), (sd2, "v", "stablediffusion")):
        ddim = authors_module(where, "ldm.models.diffusion.ddim")
        # their coefficients are made with torch.full, in f32: here in f64 from the same f32 tables
        ddim.torch = doubled()
        cls = keep_on_cpu(ddim.DDIMSampler)
        runs = [dict(steps=10, eta=0.0), dict(steps=10, eta=1.0), dict(steps=7, eta=0.3)]
        if prediction == "eps":
            runs += [dict(steps=10, eta=0.0, quantize=True), dict(steps=10, eta=0.0, masked=True),
                     dict(steps=8, eta=0.5, masked=True)]
        for i, r in enumerate(runs):
            trace, noise = Trace(), Noise(100 + i)
            draw = (lambda *a, **k: noise()) if r["eta"] > 0 else (lambda *a, **k: torch.zeros(1, 1, 1, SIZE).double())
            ddim.noise_like = draw
            model = AuthorsModel(trace, noise, prediction)
            x, z0 = begin(i)
            extra = {}
            if r.get("masked"):
                mask = torch.tensor([1.0, 0, 1, 0, 0.25, 1]).double().reshape(1, 1, 1, SIZE)
                extra = dict(mask=mask, x0=z0)
            s = cls(model)
            out, _ = s.sample(r["steps"], 1, shape, conditioning=None, x_T=x, eta=r["eta"], verbose=False,
                              quantize_x0=r.get("quantize", False), **extra)
            options = dict(steps=r["steps"], eta=r["eta"], sampler="ddim", prediction=prediction,
                           start=x.flatten().tolist(), z0=z0.flatten().tolist())
            if r.get("quantize"):
                options["quantize"] = True
            if r.get("masked"):
                options["mask"] = mask.flatten().tolist()
            case(f"{root} DDIM {r}", trace, noise, out, **options)
        if prediction == "eps":  # img2img: encode, then decode
            trace, noise = Trace(), Noise(1)
            model = AuthorsModel(trace, noise)
            x, z0 = begin(40)
            ddim2 = authors_module(sd, "ldm.models.diffusion.ddim")
            ddim2.torch = doubled()
            ddim2.noise_like = lambda *a, **k: torch.zeros(1, 1, 1, SIZE).double()
            s = keep_on_cpu(ddim2.DDIMSampler)(model)
            s.make_schedule(10, ddim_eta=0.0, verbose=False)
            t_enc = int(0.75 * 10)
            a = torch.as_tensor(np.asarray(s.ddim_alphas))[t_enc].double()
            assert torch.allclose(s.stochastic_encode(z0, torch.tensor([t_enc]), noise=x).double(),
                                  a.sqrt() * z0 + (1 - a).sqrt() * x, atol=1e-6)
            out = s.decode(a.sqrt() * z0 + (1 - a).sqrt() * x, None, t_enc)
            case("stable-diffusion DDIM img2img", trace, noise, out, sampler="ddim", steps=10, eta=0.0, strength=0.75,
                 start=x.flatten().tolist(), z0=z0.flatten().tolist())
        plms = authors_module(where, "ldm.models.diffusion.plms")
        plms.torch = doubled()
        plms.noise_like = lambda *a, **k: torch.zeros(1, 1, 1, SIZE).double()
        cls = keep_on_cpu(plms.PLMSSampler)
        for i, r in enumerate([dict(steps=10), dict(steps=2), dict(steps=1), dict(steps=10, quantize=True),
                               dict(steps=10, masked=True)] if prediction == "eps" else []):
            trace, noise = Trace(), Noise(200 + i)
            model = AuthorsModel(trace, noise, prediction)
            x, z0 = begin(20 + i)
            extra = {}
            if r.get("masked"):
                mask = torch.tensor([1.0, 0, 1, 0, 0.25, 1]).double().reshape(1, 1, 1, SIZE)
                extra = dict(mask=mask, x0=z0)
            out, _ = cls(model).sample(r["steps"], 1, shape, conditioning=None, x_T=x, verbose=False,
                                       quantize_x0=r.get("quantize", False), **extra)
            options = dict(steps=r["steps"], sampler="plms", start=x.flatten().tolist(), z0=z0.flatten().tolist())
            if r.get("quantize"):
                options["quantize"] = True
            if r.get("masked"):
                options["mask"] = mask.flatten().tolist()
            case(f"{root} PLMS {r}", trace, noise, out, **options)
    m = authors_module(sd, "ldm.models.diffusion.dpm_solver.dpm_solver")
    for steps in (2, 12, 20):
        trace, noise = Trace(), Noise(0)
        x, _ = begin(50 + steps)
        ns = m.NoiseScheduleVP("discrete", alphas_cumprod=torch.tensor(alphas()[1]))
        fn = m.model_wrapper(lambda x, t: trace(x, t), ns, model_type="noise", guidance_type="uncond")
        out = m.DPM_Solver(fn, ns, predict_x0=True, thresholding=False).sample(
            x, steps=steps, skip_type="time_uniform", method="multistep", order=2, lower_order_final=True)
        case(f"stable-diffusion DPM-Solver++ {steps}", trace, noise, out, sampler="dpm_solver", steps=steps,
             start=x.flatten().tolist())


def doubled():
    """torch, whose full() is f64."""
    t = types.ModuleType("torch64")
    t.__dict__.update(torch.__dict__)
    t.full = lambda size, v, device=None, dtype=None: torch.full(
        size, float(v) if dtype is None else v, dtype=dtype or torch.float64)
    return t


# ---- k-diffusion ----------------------------------------------------------------------------------------------------


def k_diffusion(root):
    for stub in ("torchdiffeq", "torchsde"):
        m = types.ModuleType(stub)
        m.odeint = None
        sys.modules.setdefault(stub, m)
    package = types.ModuleType("k_diffusion")
    package.__path__ = [os.path.join(root, "k_diffusion")]
    sys.modules["k_diffusion"] = package
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    sys.modules["k_diffusion.utils"] = utils
    package.utils = utils
    return importlib.import_module("k_diffusion.sampling"), importlib.import_module("k_diffusion.external")


def sigma_samplers(root):
    ks, ext = k_diffusion(root)
    a = torch.tensor(alphas()[1])

    class Eps(ext.DiscreteEpsDDPMDenoiser):
        def t_to_sigma(self, t):
            return t_to_sigma(self, t)

    class V(ext.CompVisVDenoiser):
        def __init__(self, trace):
            ext.DiscreteVDDPMDenoiser.__init__(self, trace, a, quantize=False)

        def get_v(self, x, t, **kwargs):
            return self.inner_model(x, t)

        def t_to_sigma(self, t):
            return t_to_sigma(self, t)

    def t_to_sigma(self, t):  # theirs, without the rounding of t to f32
        low, high, w = t.floor().long(), t.ceil().long(), t.frac()
        return ((1 - w) * self.log_sigmas[low] + w * self.log_sigmas[high]).exp()

    def sigmas(model, kind, n):
        if kind == "karras":
            ramp = torch.linspace(0, 1, n, dtype=torch.float64)
            lo, hi = float(model.sigma_min) ** (1 / 7), float(model.sigma_max) ** (1 / 7)
            s = (hi + ramp * (lo - hi)) ** 7
            assert torch.allclose(s, ks.get_sigmas_karras(n, float(model.sigma_min), float(model.sigma_max))[:-1].double(),
                                  rtol=1e-5)
            return ks.append_zero(s)
        if kind == "exponential":
            s = torch.linspace(float(model.sigma_max.log()), float(model.sigma_min.log()), n, dtype=torch.float64).exp()
            assert torch.allclose(
                s, ks.get_sigmas_exponential(n, float(model.sigma_min), float(model.sigma_max))[:-1].double(), rtol=1e-5)
            return ks.append_zero(s)
        t = torch.linspace(999, 0, n, dtype=torch.float64)
        if kind == "sgm_uniform":
            t = torch.linspace(999, 0, n + 1, dtype=torch.float64)[:-1]
        return ks.append_zero(model.t_to_sigma(t))

    runs = [
        ("euler", ks.sample_euler, "discrete", 9, {}), ("euler", ks.sample_euler, "karras", 9, {}),
        ("euler", ks.sample_euler, "discrete", 1, {}),
        ("euler", ks.sample_euler, "discrete", 9, dict(s_churn=4.0, s_tmin=0.1, s_tmax=8.0, s_noise=1.01)),
        ("euler_a", ks.sample_euler_ancestral, "discrete", 9, {}),
        ("euler_a", ks.sample_euler_ancestral, "karras", 6, dict(eta=0.5, s_noise=0.9)),
        ("heun", ks.sample_heun, "discrete", 7, {}), ("heun", ks.sample_heun, "karras", 7, dict(s_churn=2.0, s_tmin=0.1, s_tmax=8.0)),
        ("dpm2", ks.sample_dpm_2, "discrete", 7, {}), ("dpm2", ks.sample_dpm_2, "exponential", 7, dict(s_churn=2.0)),
        ("lms", ks.sample_lms, "discrete", 9, {}), ("lms", ks.sample_lms, "karras", 3, {}),
        ("dpm++2m", ks.sample_dpmpp_2m, "discrete", 9, {}), ("dpm++2m", ks.sample_dpmpp_2m, "karras", 9, {}),
        ("dpm++2m", ks.sample_dpmpp_2m, "sgm_uniform", 9, {}),
    ]
    for i, (name, fn, kind, n, extra) in enumerate(runs):
        for prediction in ("eps", "v"):
            trace, noise = Trace(), Noise(300 + i)
            model = (Eps(trace, a, quantize=False) if prediction == "eps" else V(trace))
            list_ = sigmas(model, kind, n)
            x, _ = begin(60 + i)
            torch.randn_like = lambda x, **k: noise()
            args = dict(extra)
            if name == "euler_a":
                args["noise_sampler"] = lambda s, t: noise()
            out = fn(model, x * list_[0], list_, disable=True, **args)
            torch.randn_like = RANDN_LIKE
            if "s_churn" in extra:  # their loops draw in every step, churning or not
                args = dict(extra, draws_always=True)
            case(f"k-diffusion {name} {kind} {prediction} {extra}", trace, noise, out, sampler=name, sigmas=kind, steps=n,
                 prediction=prediction, start=x.flatten().tolist(), **{k: v for k, v in args.items() if k != "noise_sampler"})


RANDN_LIKE = torch.randn_like

# ---- diffusers ------------------------------------------------------------------------------------------------------


def text(v):
    return str(v).lower() if isinstance(v, bool) else str(v)


def diffusers_samplers():
    import diffusers

    base = dict(beta_start=START, beta_end=END, beta_schedule="scaled_linear")
    sd = dict(base, steps_offset=1, timestep_spacing="leading")
    runs = []
    for spacing in ("leading", "trailing", "linspace"):
        s = dict(base, steps_offset=1, timestep_spacing=spacing)
        for cls in ("DDIMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
                    "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler",
                    "DPMSolverMultistepScheduler", "DDPMScheduler", "PNDMScheduler"):
            more = dict(s)
            if spacing == "trailing":
                more["prediction_type"] = "v_prediction"
            if cls == "PNDMScheduler":
                more["skip_prk_steps"] = True
            if cls in ("DDIMScheduler", "DDPMScheduler"):
                more["clip_sample"] = False
            runs.append((cls, more, 7, {}))
            if spacing == "leading":
                runs.append((cls, more, 12, {}))
    for cls in ("EulerDiscreteScheduler", "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler",
                "DPMSolverMultistepScheduler"):
        runs.append((cls, dict(sd, use_karras_sigmas=True), 8, {}))
        runs.append((cls, dict(sd, use_exponential_sigmas=True), 8, {}))
    runs += [
        ("DDIMScheduler", {}, 10, {}),  # every default: clip_sample true, beta linear, alpha to one
        ("DDIMScheduler", dict(sd, set_alpha_to_one=False, clip_sample=False), 20, dict(eta=0.7)),
        ("DDIMScheduler", dict(sd, clip_sample=True, clip_sample_range=0.8, prediction_type="sample"), 10, {}),
        ("DDPMScheduler", {}, 10, {}),
        ("DDPMScheduler", dict(sd, clip_sample=False, variance_type="fixed_large"), 10, {}),
        ("PNDMScheduler", dict(sd, skip_prk_steps=True, set_alpha_to_one=True), 10, {}),
        ("PNDMScheduler", dict(sd, skip_prk_steps=True), 1, {}), ("PNDMScheduler", {}, 10, {}),
        ("PNDMScheduler", dict(sd), 4, {}), ("PNDMScheduler", dict(sd, prediction_type="v_prediction"), 12, {}),
        ("EulerDiscreteScheduler", dict(base, final_sigmas_type="sigma_min"), 8, {}),
        ("EulerDiscreteScheduler", dict(base, interpolation_type="log_linear"), 8, {}),
        ("EulerDiscreteScheduler", dict(base, prediction_type="sample"), 8, {}),
        ("EulerDiscreteScheduler", dict(base, use_karras_sigmas=True, sigma_min=0.1, sigma_max=10.0), 8, {}),
        ("HeunDiscreteScheduler", dict(base, clip_sample=True), 8, {}),
        ("DPMSolverMultistepScheduler", dict(base, final_sigmas_type="sigma_min", lower_order_final=False), 8, {}),
        ("DPMSolverMultistepScheduler", dict(base, solver_type="heun"), 16, {}),
        ("DPMSolverMultistepScheduler", dict(base, solver_order=1), 8, {}),
        ("DPMSolverMultistepScheduler", dict(beta_schedule="squaredcos_cap_v2", lambda_min_clipped=-5.1), 8, {}),
        ("DPMSolverMultistepScheduler", dict(base, final_sigmas_type="sigma_min", euler_at_final=True), 8, {}),
        ("DDIMScheduler", dict(base, rescale_betas_zero_snr=True, prediction_type="v_prediction", clip_sample=False,
                               timestep_spacing="trailing"), 8, dict(eta=0.4)),
        ("EulerDiscreteScheduler", dict(base, rescale_betas_zero_snr=True, prediction_type="v_prediction",
                                        timestep_spacing="trailing"), 8, {}),
        ("EulerAncestralDiscreteScheduler", dict(base, rescale_betas_zero_snr=True, prediction_type="v_prediction",
                                                 timestep_spacing="trailing"), 8, {}),
        ("DPMSolverMultistepScheduler", dict(base, rescale_betas_zero_snr=True, prediction_type="v_prediction",
                                             timestep_spacing="trailing"), 8, {}),
        ("LCMScheduler", dict(base), 4, {}), ("LCMScheduler", {}, 7, {}), ("LCMScheduler", dict(base), 1, {}),
        ("LCMScheduler", dict(base, original_inference_steps=100, timestep_scaling=5.0, clip_sample=True), 4, {}),
    ]
    for cls in ("DDIMScheduler", "EulerDiscreteScheduler", "PNDMScheduler", "DPMSolverMultistepScheduler",
                "HeunDiscreteScheduler"):
        more = dict(sd)
        if cls == "PNDMScheduler":
            more["skip_prk_steps"] = True
        if cls == "DDIMScheduler":
            more["clip_sample"] = False
        runs.append((cls, more, 10, dict(strength=0.6)))
    for cls in ("DDIMScheduler", "DDPMScheduler", "PNDMScheduler", "EulerDiscreteScheduler", "EulerAncestralDiscreteScheduler",
                "HeunDiscreteScheduler", "KDPM2DiscreteScheduler", "LMSDiscreteScheduler", "DPMSolverMultistepScheduler", "LCMScheduler"):
        # not to the end of cosines: sigma is 20,000 there, and diffusers' states over sigma are f32
        for betas in (dict(beta_start=0.0001, beta_end=0.02, beta_schedule="linear", timestep_spacing="trailing"),
                      dict(beta_schedule="squaredcos_cap_v2", timestep_spacing="leading", steps_offset=1)):
            more = dict(betas, prediction_type="v_prediction")
            if cls == "PNDMScheduler":
                more["skip_prk_steps"] = True
            if cls in ("DDIMScheduler", "DDPMScheduler"):
                more["clip_sample"] = False
            runs.append((cls, more, 6, {}))
    runs += [
        (cls, dict(base, rescale_betas_zero_snr=True, prediction_type="v_prediction", timestep_spacing="trailing", **more), steps, {})
        for cls, steps, more in (("DDPMScheduler", 6, dict(clip_sample=False)), ("LCMScheduler", 4, {}))]
    for i, (cls, config, steps, extra) in enumerate(runs):
        c = getattr(diffusers, cls)
        s = c(**config)
        s.set_timesteps(steps)
        trace, noise = Trace(), Noise(400 + i)
        module = sys.modules[c.__module__]
        module.randn_tensor = lambda *a, **k: noise()
        x, z0 = begin(90 + i)
        start = x
        times, order = s.timesteps, getattr(s, "order", 1)
        if "strength" in extra:
            first = max(steps - min(int(steps * extra["strength"]), steps), 0) * order
            times = s.timesteps[first:]
            if hasattr(s, "set_begin_index"):
                s.set_begin_index(first)
            x = s.add_noise(z0, x, times[:1])
        else:
            x = x * s.init_noise_sigma
        args = {"eta": extra["eta"]} if "eta" in extra else {}
        for t in times:
            out = trace(s.scale_model_input(x, t), t)
            x = s.step(out, t, x, **args).prev_sample.double()
        settings = [[k, text(v)] for k, v in config.items()]
        case(f"diffusers {cls} {steps} {config} {extra}", trace, noise, x, settings=settings, sampler=cls, steps=steps,
             start=start.flatten().tolist(), z0=z0.flatten().tolist(), **extra)


def commit(path):
    return subprocess.run(["git", "-C", path, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    for name in ("clone", "sd", "sd2", "k"):
        p.add_argument("--" + name, required=True)
    a = p.parse_args()
    import diffusers
    import scipy

    diffusers_samplers()
    sigma_samplers(a.k)
    authors(a.clone, a.sd, a.sd2)
    os.makedirs(OUT, exist_ok=True)
    versions = {"torch": torch.__version__, "diffusers": diffusers.__version__, "scipy": scipy.__version__,
                "CompVis/latent-diffusion": commit(a.clone), "CompVis/stable-diffusion": commit(a.sd),
                "Stability-AI/stablediffusion": commit(a.sd2), "crowsonkb/k-diffusion": commit(a.k)}

    def short(v):
        if isinstance(v, float):
            return float(f"{v:.10g}")
        if isinstance(v, list):
            return [short(e) for e in v]
        return v

    with open(os.path.join(OUT, "fixture.json"), "w") as f:
        f.write('{"versions": ' + json.dumps(versions) + ',\n"beta": [%r, %r],\n"cases": [\n' % (START, END))
        f.write(",\n".join(json.dumps({k: short(v) for k, v in c.items()}) for c in CASES) + "\n]}\n")
    print(len(CASES), "cases")
