"""pipelines.py -- makes tests/fixtures/pipeline_*: whole tiny models with random weights, and what their witness draws with
them, sampler by sampler: the latent after every step, the picture as floats before it becomes bytes, and as bytes (rounded to
nearest). Three families are folders that diffusers writes and its pipelines draw with; one is a file as the
authors' trainer writes it, with their UNet, samplers and first stage.

    .venv/bin/python tests/oracle/pipelines.py [--only pipeline_sd1] --clone CompVis/latent-diffusion      (scipy for LMS)

Untrained weights are scaled (GAINS) until the picture depends on everything it should: for every sampler one other token or
class, times one higher, another sampler, another clip-skip, another list of sigmas moves it by at least 20 of the 2e-3 that
are allowed; `wrong` has how far. tests/test_pipelines.sh runs the same with `ldm gen`, and each of the wrong ones too.
"""
import argparse
import json
import math
import os
import shutil

import diffusers
import numpy as np
import torch
import transformers
import yaml
from PIL import Image
from safetensors.torch import save_file
from diffusers import (AutoencoderKL, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline,
                       UNet2DConditionModel)
from transformers import CLIPTextConfig, CLIPTextModel

import nets_authors
import nets_diffusers
from witness import make_weights, parse

torch.set_grad_enabled(False)
diffusers.utils.logging.set_verbosity_error()
transformers.logging.set_verbosity_error()
HERE = os.path.dirname(os.path.abspath(__file__))
OUT = os.path.join(HERE, "..", "fixtures")
TOLERANCE = 2e-3
MERGES, LENGTH, SEED = 60, 12, 3
PROMPT, OTHER, NEGATIVE = "a cat on the hill", "a cat on the hall", "sad"

# gain by part of a tensor's name; the first match counts
GAINS = [("time_embedding", 2.0), ("time_emb_proj", 2.5), ("attn2.to_v", 3.0), ("attn2.to_out", 2.0), ("to_q", 1.5), ("to_k", 1.5),
         ("conv_out", 0.6), ("embedding", 0.0)]
BASE = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", num_train_timesteps=1000)
LEADING = dict(BASE, steps_offset=1, timestep_spacing="leading")

SCHEDULERS = {
    "ddim": ("DDIMScheduler", 8, dict(LEADING, clip_sample=False, set_alpha_to_one=False)),
    "pndm": ("PNDMScheduler", 8, dict(LEADING, skip_prk_steps=True, set_alpha_to_one=False)),
    "euler": ("EulerDiscreteScheduler", 8, LEADING),
    "euler_a": ("EulerAncestralDiscreteScheduler", 8, LEADING),
    "heun": ("HeunDiscreteScheduler", 5, dict(BASE, timestep_spacing="linspace")),
    "lms": ("LMSDiscreteScheduler", 8, dict(BASE, timestep_spacing="linspace")),
    "dpmpp_2m": ("DPMSolverMultistepScheduler", 8, dict(BASE, timestep_spacing="linspace")),
    "dpmpp_2m_karras": ("DPMSolverMultistepScheduler", 8, dict(LEADING, use_karras_sigmas=True)),
}
OTHER_SCHEDULER = {"ddim": "pndm", "euler": "pndm"}  # by default DDIM, which Euler is too

FAMILIES = {
    # SD 1.x: CLIP with quick GELU, heads by number, 1x1 convolutions around the transformers
    "pipeline_sd1": dict(text=dict(hidden_act="quick_gelu"), unet=dict(attention_head_dim=4), predicts="epsilon",
                         schedulers=list(SCHEDULERS), guidance=3.0),
    # SD 2: exact GELU, heads by width, linear layers, v
    # SD 1.5 inpainting: nine channels
    "pipeline_inpaint": dict(text=dict(hidden_act="quick_gelu"), unet=dict(attention_head_dim=4, in_channels=9),
                             predicts="epsilon", schedulers=[], guidance=3.0),
    "pipeline_sd2": dict(text=dict(hidden_act="gelu"), unet=dict(attention_head_dim=[2, 4], use_linear_projection=True),
                         predicts="v_prediction", schedulers=["ddim", "euler_a", "dpmpp_2m"], guidance=2.0),
}


def fill(model, seed):
    shapes = {k: list(v.shape) for k, v in model.state_dict().items() if not k.endswith("position_ids")}
    state = make_weights(shapes, seed, GAINS)
    generator = torch.Generator().manual_seed(seed)
    for k in state:
        if k.endswith(("token_embedding.weight", "position_embedding.weight")):
            state[k] = torch.randn(shapes[k], generator=generator).half()
    model.load_state_dict({k: v.float() for k, v in state.items()}, strict=False)
    return model.eval()


def small_tokenizer():
    """CLIP's, with the first of its merges only."""
    with open(os.path.join(HERE, "..", "..", "host", "text", "vocab", "clip-merges.txt"), encoding="utf-8") as f:
        merges = [line.rstrip("\n") for line, _ in zip(f, range(MERGES))]
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    tokens = letters + [x + "</w>" for x in letters] + [m.replace(" ", "") for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    return transformers.CLIPTokenizer(vocab={t: i for i, t in enumerate(tokens)}, merges=[tuple(m.split()) for m in merges],
                                      model_max_length=LENGTH)


def build(family, folder):
    """Writes the model in f16 and opens it again as a user would."""
    c = FAMILIES[family]
    tokenizer = small_tokenizer()
    vocabulary = len(tokenizer)
    text = fill(CLIPTextModel(CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=32, intermediate_size=64, num_hidden_layers=3, num_attention_heads=2,
        max_position_embeddings=LENGTH, bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1,
        **c["text"])), 1)
    unet = fill(UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        **c["unet"]), 2)
    vae = fill(AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        layers_per_block=1, latent_channels=4, sample_size=16), 3)
    scheduler = diffusers.PNDMScheduler(**SCHEDULERS["pndm"][2], prediction_type=c["predicts"])
    kind = StableDiffusionInpaintPipeline if unet.config.in_channels == 9 else StableDiffusionPipeline
    pipe = kind(vae, text, tokenizer, unet, scheduler, None, None, requires_safety_checker=False)
    pipe.to(torch.float16).save_pretrained(folder)
    pipe = kind.from_pretrained(folder, torch_dtype=torch.float32)
    if not hasattr(pipe.text_encoder, "text_model"):  # diffusers asks for it, transformers 5 has it no more
        object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    return pipe


def scheduler(name, predicts, **more):
    cls, _, config = SCHEDULERS[name]
    return getattr(diffusers, cls)(**{**config, "prediction_type": predicts, **more})


def config(sched):
    """A scheduler's configuration as its file has it, but for numbers that JSON has no word for."""
    word = lambda v: str(v).replace("inf", "Infinity") if isinstance(v, float) and math.isinf(v) else v
    return {k: word(v) for k, v in dict(sched.config).items() if not k.startswith("_")} | {"_class_name": type(sched).__name__}


def draw(pipe, sched, steps, guidance, prompt=PROMPT, clip_skip=None, seed=SEED, **more):
    """(latents of every step [steps,4,8,8], picture [3,16,16] in [-1,1]); PNDM takes a step more than it is asked for"""
    latents = []
    pipe.scheduler = sched

    def each(_, step, t, kept):
        latents.append(kept["latents"][0].clone())
        return kept

    # clip_skip None is the last layer, 1 the one before: one less than sd.cpp's number
    pipe(prompt, negative_prompt=NEGATIVE, num_inference_steps=steps, guidance_scale=guidance, clip_skip=clip_skip,
         generator=torch.Generator().manual_seed(seed), output_type="latent", callback_on_step_end=each,
         **(more or dict(height=16, width=16)))
    if len(latents) == 2 * steps - 1:  # Heun: two evaluations a step, one in the last
        latents = latents[1::2] + latents[-1:]
    picture = pipe.vae.decode(latents[-1][None] / pipe.vae.config.scaling_factor).sample[0]
    return torch.stack(latents), picture


def bytes_of(picture):
    return Image.fromarray(((picture.double() / 2 + 0.5).clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy())


class Book:
    """A family's fixture.json and arrays."""

    def __init__(self, folder, made_by, options):
        self.folder, self.least = folder, float("inf")
        self.info = {"made_by": made_by, "tolerance": TOLERANCE, "options": options, "runs": []}

    def run(self, name, right, wrong, shown=None, **more):
        """right: (latents, picture); wrong: name -> ((latents, picture), what makes it so, for the test); shown: what becomes
        bytes, where that is not the decoder's picture; what is wrong is compared with it then"""
        latents, picture = right
        shown = picture if shown is None else shown
        moves = {k: round((v[1] - shown).abs().max().item() / TOLERANCE, 1) for k, (v, _) in wrong.items()}
        saturated = (picture.abs() > 1).double().mean().item()
        print(f"{os.path.basename(self.folder)} {name:16} latent {latents.abs().max():.3g} picture {picture.abs().max():.3g} "
              f"saturated {saturated:.2f} moves {moves}", flush=True)
        assert saturated < 0.2
        self.least = min(self.least, *moves.values())
        np.save(os.path.join(self.folder, f"{name}_latents.npy"), latents.numpy())
        np.save(os.path.join(self.folder, f"{name}_latent.npy"), latents[-1:].numpy())
        np.save(os.path.join(self.folder, f"{name}_picture.npy"), picture[None].numpy())
        bytes_of(shown).save(os.path.join(self.folder, f"{name}.png"))
        self.info["runs"].append(
            {"name": name, **more, "wrong": {k: dict(how, moves_in_tolerances=moves[k]) for k, (_, how) in wrong.items()}})

    def save(self):
        with open(os.path.join(self.folder, "fixture.json"), "w") as f:
            json.dump(self.info, f, indent=1)
            f.write("\n")
        size = sum(os.path.getsize(os.path.join(d, n)) for d, _, names in os.walk(self.folder) for n in names)
        print(f"{os.path.basename(self.folder)}: {size / 1e6:.2f} MB, the least of the moves is {self.least} tolerances")
        assert self.least >= 20, "a wrong answer could pass: scale the weights"


def by_diffusers(family, folder):
    c = FAMILIES[family]
    pipe = build(family, os.path.join(folder, "model"))
    pipe.set_progress_bar_config(disable=True)
    g = c["guidance"]
    book = Book(folder, {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__},
                ["-p", PROMPT, "-n", NEGATIVE, "-s", str(SEED), "--cfg-scale", str(g)])
    for name in c["schedulers"]:
        steps = SCHEDULERS[name][1]
        sched = lambda **more: scheduler(name, c["predicts"], **more)
        with_scheduler = lambda s: (draw(pipe, s, steps, g), {"scheduler": config(s)})
        wrong = {
            "token": (draw(pipe, sched(), steps, g, prompt=OTHER), {"options": ["-p", OTHER]}),
            "clip-skip": (draw(pipe, sched(), steps, g, clip_skip=1), {"options": ["--clip-skip", "2"]}),
            "steps": (draw(pipe, sched(), steps + 1, g), {"options": ["--steps", str(steps + 1)]}),
            "guidance": (draw(pipe, sched(), steps, g + 0.5), {"options": ["--cfg-scale", str(g + 0.5)]}),
            "seed": (draw(pipe, sched(), steps, g, seed=SEED + 1), {"options": ["-s", str(SEED + 1)]}),
            "sampler": with_scheduler(scheduler(OTHER_SCHEDULER.get(name, "ddim"), c["predicts"])),
        }
        if "steps_offset" in SCHEDULERS[name][2] and name != "dpmpp_2m_karras":
            wrong["time"] = with_scheduler(sched(steps_offset=0))
        if name in ("euler", "heun", "lms", "dpmpp_2m", "dpmpp_2m_karras"):
            wrong["sigmas"] = with_scheduler(sched(use_karras_sigmas=name != "dpmpp_2m_karras"))
        book.run(name, draw(pipe, sched(), steps, g), wrong, scheduler=config(sched()), options=["--steps", str(steps)])
    if family == "pipeline_sd1":
        img2img(StableDiffusionImg2ImgPipeline(**pipe.components, requires_safety_checker=False), g, book)
    if family == "pipeline_inpaint":
        inpaint(pipe, g, book)
    book.save()


def pictures(folder):
    """16 x 16: a patch of a photograph, and a mask whose white lower right is to be painted."""
    with Image.open(os.path.join(HERE, "..", "data", "photos", "astronaut.png")) as im:
        init = im.convert("RGB").crop((200, 60, 328, 188)).resize((16, 16), Image.BOX)
    mask = Image.new("L", (16, 16), 0)
    mask.paste(255, (6, 4, 16, 14))
    init.save(os.path.join(folder, "init.png")), mask.save(os.path.join(folder, "mask.png"))
    return init, mask


def img2img(pipe, g, book):
    """Files of the fixture stand as @name in options. A run that starts from a picture is for the command line alone."""
    init, _ = pictures(book.folder)
    flipped = init.transpose(Image.FLIP_LEFT_RIGHT)
    flipped.save(os.path.join(book.folder, "flipped.png"))
    pipe.set_progress_bar_config(disable=True)
    for name, steps in (("ddim", 8), ("euler", 8), ("dpmpp_2m", 10)):
        sched = lambda: scheduler(name, "epsilon")
        at = lambda **more: draw(pipe, sched(), steps, g, **{"image": init, "strength": 0.75, **more})
        wrong = {
            "strength": (at(strength=0.5), {"options": ["--strength", "0.5"]}),
            "token": (at(prompt=OTHER), {"options": ["-p", OTHER]}),
            "seed": (at(seed=SEED + 1), {"options": ["-s", str(SEED + 1)]}),
            "picture": (at(image=flipped), {"options": ["-i", "@flipped.png"]}),
        }
        book.run("img2img_" + name, at(), wrong, scheduler=config(sched()), command_line=True,
                 options=["--steps", str(steps), "-i", "@init.png", "--strength", "0.75"])


def inpaint(pipe, g, book):
    init, mask = pictures(book.folder)
    other = Image.new("L", (16, 16), 0)
    other.paste(255, (2, 4, 12, 14))
    other.save(os.path.join(book.folder, "other_mask.png"))
    for name in ("ddim", "euler_a"):
        sched = lambda: scheduler(name, "epsilon")
        at = lambda **more: draw(pipe, sched(), 8, g, **{"image": init, "mask_image": mask, "height": 16, "width": 16, **more})
        wrong = {
            "mask": (at(mask_image=other), {"options": ["--mask", "@other_mask.png"]}),
            "token": (at(prompt=OTHER), {"options": ["-p", OTHER]}),
            "seed": (at(seed=SEED + 1), {"options": ["-s", str(SEED + 1)]}),
        }
        book.run("inpaint_" + name, at(), wrong, scheduler=config(sched()), command_line=True,
                 options=["--steps", "8", "-i", "@init.png", "--mask", "@mask.png"])


# ---- the authors ------------------------------------------------------------------------------------------------------

UNET = ("in_channels=3 out_channels=3 model_channels=32 channel_mult=1,2 num_res_blocks=1 attention_resolutions=1 num_heads=4 "
        "use_spatial_transformer=1 transformer_depth=1 context_dim=32")
STAGE = "kind=vq z_channels=3 embed_dim=3 n_embed=64 ch=32 ch_mult=1,1 num_res_blocks=1"
CLASSES, CLASS, GUIDANCE, STEPS = 1001, 7, 2.0, 8
AUTHORS_GAINS = [("time_embed", 2.0), ("emb_layers", 2.5), ("attn2.to_v", 3.0), ("attn2.to_out", 2.0), ("to_q", 1.5),
                 ("to_k", 1.5), ("out.2", 0.4), ("decoder.conv_out", 0.5)]


class Model:
    """What the authors' samplers ask of a LatentDiffusion."""

    def __init__(self, unet, book):
        beta = np.linspace(0.0015**0.5, 0.0195**0.5, 1000, dtype=np.float64) ** 2
        self.num_timesteps, self.device, self.shift = 1000, torch.device("cpu"), 0
        self.betas = torch.tensor(beta, dtype=torch.float32)
        self.alphas_cumprod = torch.tensor(np.cumprod(1 - beta), dtype=torch.float32)
        self.alphas_cumprod_prev = torch.cat([torch.ones(1), self.alphas_cumprod[:-1]])
        self.unet, self.first_stage_model = unet, self
        self.book = book

    def apply_model(self, x, t, c):
        return self.unet(x, t + self.shift, context=c)

    def quantize(self, z):
        flat = z.permute(0, 2, 3, 1).reshape(-1, z.shape[1])
        near = self.book[torch.cdist(flat, self.book).argmin(1)]
        return near.reshape(z.shape[0], *z.shape[2:], -1).permute(0, 3, 1, 2), None, None


def by_authors(folder, clone):
    import importlib
    commit = nets_authors.bring(clone)
    os.makedirs(folder)
    c, stage = parse(UNET), parse(STAGE)
    state = make_weights(nets_authors.unet_shapes(c), 11, AUTHORS_GAINS)
    first = make_weights(nets_diffusers.autoencoder_shapes("vq", stage), 12, AUTHORS_GAINS)
    table = torch.randn(CLASSES, 32, generator=torch.Generator().manual_seed(13)).half()
    _, decode = nets_authors.autoencoder("vq", stage, first, torch.float32)
    model = Model(nets_authors.unet(c, state, torch.float32), first["quantize.embedding.weight"].float())
    save_file({**{"model.diffusion_model." + k: v for k, v in state.items()}, "cond_stage_model.embedding.weight": table,
               **{"first_stage_model." + k: v for k, v in first.items()}}, os.path.join(folder, "model.safetensors"))
    params = lambda text, *leave: {k: v for k, v in parse(text).items() if k not in leave}
    flags = {"use_spatial_transformer": True}
    with open(os.path.join(folder, "config.yaml"), "w") as f:
        yaml.safe_dump({"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": {
            "linear_start": 0.0015, "linear_end": 0.0195, "timesteps": 1000, "first_stage_key": "image",
            "cond_stage_key": "class_label", "image_size": 8, "channels": 3, "conditioning_key": "crossattn", "use_ema": False,
            "unet_config": {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel",
                            "params": {"image_size": 8, **params(UNET), **flags}},
            "first_stage_config": {"target": "ldm.models.autoencoder.VQModelInterface", "params": {
                "embed_dim": 3, "n_embed": stage["n_embed"], "ddconfig": {
                    "double_z": False, "z_channels": 3, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32,
                    "ch_mult": stage["ch_mult"], "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}}},
            "cond_stage_config": {"target": "ldm.modules.encoders.modules.ClassEmbedder",
                                  "params": {"embed_dim": 32, "n_classes": CLASSES}}}}}, f, sort_keys=False)

    samplers = {}
    for name, cls in (("ddim", "DDIMSampler"), ("plms", "PLMSSampler")):
        kind = getattr(importlib.import_module("ldm.models.diffusion." + name), cls)
        kind.register_buffer = lambda self, name, attr: setattr(self, name, attr)
        samplers[name] = kind

    def sample(name, steps=STEPS, eta=0.0, quantize=False, guidance=GUIDANCE, label=CLASS, seed=SEED, shift=0):
        model.shift = shift
        torch.manual_seed(seed)
        x = torch.randn(1, 3, 8, 8)
        context = lambda i: table[i][None, None].float()
        z, kept = samplers[name](model).sample(
            steps, 1, (3, 8, 8), conditioning=context(label), x_T=x, eta=eta, quantize_x0=quantize, verbose=False, log_every_t=1,
            unconditional_guidance_scale=guidance, unconditional_conditioning=context(CLASSES - 1))
        latents = torch.cat(kept["x_inter"][1:])
        assert torch.equal(latents[-1], z[0]) and len(latents) == steps
        return latents, decode(z)[0]

    book = Book(folder, {"torch": torch.__version__, "authors_code": f"CompVis/latent-diffusion {commit}"},
                ["--class-id", str(CLASS), "-s", str(SEED), "--cfg-scale", str(GUIDANCE)])
    for run, name, how, options in (
            ("ddim", "ddim", {}, []), ("ddim_eta1", "ddim", {"eta": 1.0}, ["--eta", "1"]), ("plms", "plms", {}, []),
            ("ddim_quantized", "ddim", {"quantize": True}, ["--quantize-x0"])):
        other = "plms" if name == "ddim" else "ddim"
        latents, picture = sample(name, **how)
        d = torch.cdist(latents[-1].permute(1, 2, 0).reshape(-1, 3), model.book) ** 2
        near = d.topk(2, largest=False).values
        margin = (near[:, 1] - near[:, 0]).min().item()
        assert margin > 1e-2, f"{run}: a pixel lies between two codewords ({margin})"
        wrong = {
            "class": (sample(name, **how, label=CLASS + 1), {"options": ["--class-id", str(CLASS + 1)]}),
            "steps": (sample(name, **how, steps=10), {"options": ["--steps", "10"]}),
            "guidance": (sample(name, **how, guidance=GUIDANCE + 0.5), {"options": ["--cfg-scale", str(GUIDANCE + 0.5)]}),
            "seed": (sample(name, **how, seed=SEED + 1), {"options": ["-s", str(SEED + 1)]}),
        }
        if not how:
            wrong["sampler"] = (sample(other), {"options": ["--sampling-method", other]})
        if name == "ddim":
            wrong["eta"] = (sample(name, **{**how, "eta": 0.5}), {"options": ["--eta", "0.5"]})
        unlike = {}  # of what the tool has no option for
        for k, shift in (("later", 1), ("earlier", -1)):
            other = sample(name, **how, shift=shift)[0][-1:]
            unlike[k] = round((other[0] - latents[-1]).abs().max().item() / TOLERANCE, 1)
            assert unlike[k] >= 20, f"{run}: {k} moves the latent by {unlike[k]} tolerances"
            np.save(os.path.join(folder, f"{run}_{k}.npy"), other.numpy())
        book.run(run, (latents, picture), wrong, options=["--steps", str(STEPS), "--sampling-method", name] + options,
                 smallest_codebook_margin=margin, unlike=unlike)
    book.save()


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", choices=[*FAMILIES, "pipeline_class"])
    p.add_argument("--clone", help="a checkout of CompVis/latent-diffusion; without it pipeline_class is left as it is")
    p.add_argument("--out", default=OUT)
    a = p.parse_args()
    for family in [*FAMILIES, *(["pipeline_class"] if a.clone else [])]:
        if a.only in (None, family):
            folder = os.path.join(a.out, family)
            shutil.rmtree(folder, ignore_errors=True)
            by_diffusers(family, folder) if family in FAMILIES else by_authors(folder, a.clone)


if __name__ == "__main__":
    main()
