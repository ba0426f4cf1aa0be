"""trained.py -- makes tests/fixtures/trained: latents of the small trained model (tests/data/emoji-ldm) by samplers of
k-diffusion and diffusers, in PyTorch f32 with the authors' network.

    .venv/bin/python tests/oracle/trained.py --clone CLONE --k K_DIFFUSION

Two pictures, each with a generator of its own (PyTorch's CPU, seed 42 + i): the first draw is the start, then one for every
step that needs noise. Contexts are those of tests/data/emoji-ldm/expected/ddim-context.npy, guidance is 3.
"""
import argparse
import importlib
import json
import os
import sys
import types

import diffusers  # before k-diffusion's requirements are stubbed
import numpy as np
import torch

import samplers as pure

HERE = os.path.dirname(os.path.abspath(__file__))
MODEL = os.path.join(HERE, "..", "data", "emoji-ldm")
OUT = os.path.join(HERE, "..", "fixtures", "trained")
STEPS, GUIDANCE, PICTURES = 10, 3.0, 2
EVERY = 4  # of the first picture's numbers after each step, one in so many is kept


def load(clone):
    sys.path.insert(0, clone)
    for stub in ("pytorch_lightning", "taming"):
        sys.modules.setdefault(stub, types.ModuleType(stub))
    state = torch.load(os.path.join(MODEL, "model.ckpt"), map_location="cpu", weights_only=False)["state_dict"]
    unet = importlib.import_module("ldm.modules.diffusionmodules.openaimodel").UNetModel(
        image_size=8, in_channels=32, out_channels=32, model_channels=64, attention_resolutions=[1, 2],
        num_res_blocks=2, channel_mult=[1, 2], num_heads=4, use_spatial_transformer=True, transformer_depth=1,
        context_dim=192, legacy=False)
    unet.load_state_dict({k[len("model.diffusion_model."):]: v.float() for k, v in state.items()
                          if k.startswith("model.diffusion_model.")})
    x = importlib.import_module("ldm.modules.x_transformer")
    text = x.TransformerWrapper(num_tokens=30522, max_seq_len=24, attn_layers=x.Encoder(dim=192, depth=3))
    text.load_state_dict({k[len("cond_stage_model.transformer."):]: v.float() for k, v in state.items()
                          if k.startswith("cond_stage_model.transformer.")}, strict=False)  # it has no to_logits
    ids = torch.zeros(1, 24, dtype=torch.long)
    ids[0, :2] = torch.tensor([101, 102])
    with torch.no_grad():
        empty = text.eval()(ids, return_embeddings=True)
    return unet.eval(), empty


class Guided:
    """v by classifier-free guidance."""

    def __init__(self, unet, empty, context):
        self.unet, self.context = unet, torch.cat([empty.expand(PICTURES, -1, -1), context])

    @torch.no_grad()
    def __call__(self, x, t):
        t = torch.as_tensor(t, dtype=torch.float32).flatten()[:1].expand(2 * PICTURES)
        u, c = self.unet(torch.cat([x, x]).float(), t, context=self.context).chunk(2)
        return u + GUIDANCE * (c - u)


class Noise:
    def __init__(self):
        self.g = [torch.Generator().manual_seed(42 + i) for i in range(PICTURES)]

    def __call__(self, *a, **k):
        return torch.stack([torch.randn(32, 8, 8, generator=g) for g in self.g])


def by_k(root, model):
    ks, ext = pure.k_diffusion(root)

    class V(ext.CompVisVDenoiser):
        def __init__(self):
            ext.DiscreteVDDPMDenoiser.__init__(self, model, torch.tensor(pure.alphas()[1], dtype=torch.float32), False)

        def get_v(self, x, t, **k):
            return self.inner_model(x, t)

    m = V()
    karras = ks.get_sigmas_karras(STEPS, float(m.sigma_min), float(m.sigma_max))
    even = m.get_sigmas(STEPS)
    for name, fn, sigmas in (("euler_a", ks.sample_euler_ancestral, even), ("heun Karras", ks.sample_heun, karras),
                             ("dpm2", ks.sample_dpm_2, even), ("lms", ks.sample_lms, even),
                             ("dpm++2m Karras", ks.sample_dpmpp_2m, karras), ("euler", ks.sample_euler, even)):
        noise = Noise()
        x = noise() * sigmas[0]
        more = {"noise_sampler": lambda s, t: noise()} if name == "euler_a" else {}
        before = []
        end = fn(m, x, sigmas, disable=True, callback=lambda d: before.append(d["x"].clone()), **more)
        yield name, before[1:] + [end]


def by_diffusers(model):
    base = dict(beta_start=pure.START, beta_end=pure.END, beta_schedule="scaled_linear", prediction_type="v_prediction")
    for cls, config in (("DDIMScheduler", dict(clip_sample=False, steps_offset=1, set_alpha_to_one=False)),
                        ("EulerAncestralDiscreteScheduler", dict(timestep_spacing="trailing")),
                        ("DPMSolverMultistepScheduler", dict(use_karras_sigmas=True)),
                        ("PNDMScheduler", dict(skip_prk_steps=True, steps_offset=1)), ("LCMScheduler", {})):
        c = getattr(diffusers, cls)
        s = c(**base, **config)
        s.set_timesteps(STEPS)
        noise = Noise()
        x = noise() * s.init_noise_sigma
        sys.modules[c.__module__].randn_tensor = lambda *a, **k: noise()
        more = {"eta": 1.0} if cls == "DDIMScheduler" else {}
        steps = []
        for t in s.timesteps:
            x = s.step(model(s.scale_model_input(x, t), t), t, x, **more).prev_sample
            steps.append(x)
        yield cls, steps, [[k, pure.text(v)] for k, v in {**base, **config}.items()], more.get("eta")


if __name__ == "__main__":
    p = argparse.ArgumentParser()
    p.add_argument("--clone", required=True)
    p.add_argument("--k", required=True)
    a = p.parse_args()
    unet, empty = load(a.clone)
    context = torch.tensor(np.load(os.path.join(MODEL, "expected", "ddim-context.npy"))[:PICTURES])
    model = Guided(unet, empty, context)
    cases, latents, steps = [], [], []
    for name, x in by_k(a.k, model):
        cases.append(dict(sampler=name, steps=len(x)))
        latents.append(x[-1].float())
        steps += [y[0].flatten()[::EVERY].float() for y in x]
    for cls, x, settings, eta in by_diffusers(model):
        cases.append(dict(sampler=cls, steps=len(x), settings=settings, **({"eta": eta} if eta else {})))
        latents.append(x[-1].float())
        steps += [y[0].flatten()[::EVERY].float() for y in x]
    os.makedirs(OUT, exist_ok=True)
    np.save(os.path.join(OUT, "steps.npy"), torch.stack(steps).numpy())
    np.save(os.path.join(OUT, "latents.npy"), torch.stack(latents).flatten(0, 1).numpy())
    with open(os.path.join(OUT, "fixture.json"), "w") as f:
        json.dump(dict(versions={"torch": torch.__version__, "diffusers": diffusers.__version__,
                                 "CompVis/latent-diffusion": pure.commit(a.clone),
                                 "crowsonkb/k-diffusion": pure.commit(a.k)},
                       steps=STEPS, guidance=GUIDANCE, seed=42, cases=cases), f, indent=1)
    print([(c["sampler"], float(x.abs().max())) for c, x in zip(cases, latents)])
