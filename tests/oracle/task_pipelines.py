"""task_pipelines.py -- makes tests/fixtures/pipeline_{depth,upscale,lcm,inpaint2}: whole tiny models with random weights for what diffusers
has pipelines of their own for, and what these draw with them. As pipelines.py (whose families lend them text encoder, tokenizer
and first stage, and each other most of the UNet, as a shard: links to files that would be the same byte for byte).

    .venv/bin/python tests/oracle/task_pipelines.py [--only pipeline_lcm]

depth: Stable Diffusion 2 depth, a picture and its depth map, three schedulers. upscale: the x4 upscaler, of a noised picture, the noise's
level as a label, v, cross-attention only at the finer level. lcm: latent consistency, the guidance scale embedded (time_cond_proj_dim), no
guidance. inpaint2: Stable Diffusion 2 inpainting. Each run again with one thing wrong, which moves the picture by 20 of the 2e-3
that are allowed or more; tests/test_pipelines.sh runs both.
"""
import argparse
import filecmp
import json
import os
import shutil
import tempfile

import diffusers
import numpy as np
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from diffusers import (AutoencoderKL, LatentConsistencyModelPipeline, StableDiffusionDepth2ImgPipeline, StableDiffusionInpaintPipeline,
                       StableDiffusionUpscalePipeline, UNet2DConditionModel)
from transformers import CLIPTextModel, CLIPTokenizer

from pipelines import BASE, LEADING, NEGATIVE, OTHER, OUT, PROMPT, SEED, Book, config, fill, pictures

torch.set_grad_enabled(False)
torch.set_num_threads(1)
SHARES = "pipeline_depth"  # has the others' UNet too, but for its ends
SD2 = dict(attention_head_dim=[2, 4])
DDIM = dict(LEADING, clip_sample=False, set_alpha_to_one=False)


OWN = ("conv_in.", "time_embedding.", "class_embedding.", "conv_out.")


def unet(seed, **more):
    """The tensors that differ between these families are of their own seeds; the others they share."""
    make = lambda **c: UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 64), layers_per_block=1, cross_attention_dim=32, use_linear_projection=True,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), **c)
    model, shared = fill(make(**more), seed), fill(make(), 20)
    model.load_state_dict({k: v for k, v in shared.state_dict().items() if not k.startswith(OWN)}, strict=False)
    return model


def shard_unet(folder):
    """Two shards: what is the family's own, and what all of these share."""
    whole = os.path.join(folder, "diffusion_pytorch_model.safetensors")
    state = load_file(whole)
    os.remove(whole)
    name = lambda k: f"diffusion_pytorch_model-{1 if k.startswith(OWN) else 2:05}-of-00002.safetensors"
    for shard in {name(k) for k in state}:
        save_file({k: v for k, v in state.items() if name(k) == shard}, os.path.join(folder, shard), metadata={"format": "pt"})
    with open(whole + ".index.json", "w") as f:
        json.dump({"metadata": {"total_size": sum(v.nbytes for v in state.values())},
                   "weight_map": {k: name(k) for k in state}}, f, indent=0)


def link_lent(folder, lender):
    """What is the same in the lender's folder becomes a link to it."""
    for base, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(base, name)
            same = os.path.join(lender, os.path.relpath(path, folder))
            if os.path.getsize(path) > 4000 and os.path.exists(same) and filecmp.cmp(path, same, shallow=False):
                os.remove(path)
                os.symlink(os.path.relpath(same, base), path)


def build(family, kind, lender, network, scheduler, scaling=None, **more):
    """Writes the model in f16 and opens it again as a user would."""
    lender, folder = os.path.join(OUT, lender, "model"), os.path.join(OUT, family, "model")
    shutil.rmtree(os.path.dirname(folder), ignore_errors=True)
    vae = AutoencoderKL.from_pretrained(os.path.join(lender, "vae"))
    if scaling:
        vae.register_to_config(scaling_factor=scaling)
    pipe = kind(vae=vae, text_encoder=CLIPTextModel.from_pretrained(os.path.join(lender, "text_encoder")),
                tokenizer=CLIPTokenizer.from_pretrained(os.path.join(lender, "tokenizer")), unet=network, scheduler=scheduler, **more)
    pipe.to(torch.float16).save_pretrained(folder)
    shard_unet(os.path.join(folder, "unet"))
    link_lent(folder, lender)
    if family != SHARES:
        link_lent(folder, os.path.join(OUT, SHARES, "model"))
    absent = {k: v for k, v in more.items() if v is None}
    pipe = kind.from_pretrained(folder, torch_dtype=torch.float32, **absent)
    if not hasattr(pipe.text_encoder, "text_model"):  # diffusers asks for it, transformers 5 has it no more
        object.__setattr__(pipe.text_encoder, "text_model", pipe.text_encoder)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def new_book(family, *options):
    return Book(os.path.join(OUT, family), {"torch": torch.__version__, "diffusers": diffusers.__version__,
                                            "transformers": transformers.__version__}, ["-p", PROMPT, "-s", str(SEED), *options])


def draw(pipe, scheduler, steps, seed=SEED, prompt=PROMPT, **call):
    """(latents of every step, picture)"""
    latents = []
    pipe.scheduler = scheduler
    if isinstance(pipe, StableDiffusionUpscalePipeline):
        each = {"callback": lambda step, t, z: latents.append(z[0].clone())}
    else:
        each = {"callback_on_step_end": lambda _, step, t, kept: (latents.append(kept["latents"][0].clone()), kept)[1]}
    pipe(prompt, num_inference_steps=steps, generator=torch.Generator().manual_seed(seed), output_type="latent", **each, **call)
    picture = pipe.vae.decode(latents[-1][None] / pipe.vae.config.scaling_factor).sample[0]
    return torch.stack(latents), picture


def keep(pipe, book, run, **arrays):
    """What follows z into the network in a run, for the test that takes every step; and what else it begins with."""
    kept = []
    hook = pipe.unet.register_forward_pre_hook(lambda _, args: kept.append(args[0][:1, pipe.unet.config.out_channels:].clone()))
    run()
    hook.remove()
    for name, a in {"concat": kept[0], **arrays}.items():
        np.save(os.path.join(book.folder, name + ".npy"), a.numpy())


def depth(family):
    make = lambda cls, **c: getattr(diffusers, cls)(**c)
    schedulers = {"ddim": (make("DDIMScheduler", **DDIM), 8), "euler": (make("EulerDiscreteScheduler", **LEADING), 8),
                  "dpmpp_2m": (make("DPMSolverMultistepScheduler", **BASE), 10)}
    pipe = build(family, StableDiffusionDepth2ImgPipeline, "pipeline_sd2", unet(21, in_channels=5, **SD2), schedulers["ddim"][0],
                 depth_estimator=None, feature_extractor=None)
    book = new_book(family, "-n", NEGATIVE, "-i", "@init.png", "--depth", "@depth.png")
    init, _ = pictures(book.folder)
    os.remove(os.path.join(book.folder, "mask.png"))
    y, x = np.mgrid[0:16, 0:16]
    near = np.clip(40 + 11 * x + 30 * ((x - 6) ** 2 + (y - 9) ** 2 < 20), 0, 255).astype(np.uint8)
    maps = {"depth": near, "far": 255 - near, "flat": (128 + (x + y == 0)).astype(np.uint8)}
    for name, a in maps.items():
        Image.fromarray(a).save(os.path.join(book.folder, name + ".png"))
    as_map = lambda name: torch.from_numpy(maps[name].astype(np.float32) / 255)[None]
    for name, (scheduler, steps) in schedulers.items():
        at = lambda steps=steps, **more: draw(pipe, scheduler, steps, **{
            "image": init, "depth_map": as_map("depth"), "strength": 0.75, "guidance_scale": 2.0, "negative_prompt": NEGATIVE, **more})
        wrong = {
            "depth, flipped": (at(depth_map=as_map("far")), {"options": ["--depth", "@far.png"]}),
            "depth, absent": (at(depth_map=as_map("flat")), {"options": ["--depth", "@flat.png"]}),
            "token": (at(prompt=OTHER), {"options": ["-p", OTHER]}),
            "guidance": (at(guidance_scale=2.5), {"options": ["--cfg-scale", "2.5"]}),
            "steps": (at(steps=steps + 1), {"options": ["--steps", str(steps + 1)]}),
            "strength": (at(strength=0.5), {"options": ["--strength", "0.5"]}),
            "seed": (at(seed=SEED + 1), {"options": ["-s", str(SEED + 1)]}),
        }
        book.run(name, at(), wrong, scheduler=config(scheduler),
                 options=["--steps", str(steps), "--strength", "0.75", "--cfg-scale", "2.0"])
    z0 = pipe.vae.encode(pipe.image_processor.preprocess(init)).latent_dist.sample(torch.Generator().manual_seed(SEED))
    keep(pipe, book, at, z0=z0 * pipe.vae.config.scaling_factor)
    book.save()


def upscale(family):
    """Its own schedule, and that of the picture's noise: the released model's."""
    betas = dict(beta_start=0.0001, beta_end=0.02, beta_schedule="scaled_linear")
    scheduler = diffusers.DDIMScheduler(**betas, clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type="v_prediction")
    euler = diffusers.EulerDiscreteScheduler(**betas, prediction_type="v_prediction")
    network = unet(22, in_channels=7, num_class_embeds=64, only_cross_attention=(True, False), attention_head_dim=4)
    pipe = build(family, StableDiffusionUpscalePipeline, "pipeline_sd2", network, scheduler, scaling=0.08333,
                 low_res_scheduler=diffusers.DDPMScheduler(**betas))
    book = new_book(family, "-n", NEGATIVE, "--upscale", "@small.png")
    init, _ = pictures(book.folder)
    for name in ("init", "mask"):
        os.remove(os.path.join(book.folder, name + ".png"))
    small = init.resize((8, 8), Image.BOX)
    flipped = small.transpose(Image.FLIP_LEFT_RIGHT)
    small.save(os.path.join(book.folder, "small.png")), flipped.save(os.path.join(book.folder, "flipped.png"))
    for name, s in (("ddim", scheduler), ("euler", euler)):
        at = lambda steps=8, **more: draw(pipe, s, steps, **{
            "image": small, "noise_level": 20, "guidance_scale": 2.0, "negative_prompt": NEGATIVE, **more})
        wrong = {
            "level, one more": (at(noise_level=21), {"options": ["--noise-level", "21"]}),
            "level, one less": (at(noise_level=19), {"options": ["--noise-level", "19"]}),
            "picture": (at(image=flipped), {"options": ["--upscale", "@flipped.png"]}),
            "token": (at(prompt=OTHER), {"options": ["-p", OTHER]}),
            "guidance": (at(guidance_scale=2.5), {"options": ["--cfg-scale", "2.5"]}),
            "steps": (at(steps=9), {"options": ["--steps", "9"]}),
            "seed": (at(seed=SEED + 1), {"options": ["-s", str(SEED + 1)]}),
        }
        book.run(name, at(), wrong, scheduler=config(s), options=["--steps", "8", "--noise-level", "20", "--cfg-scale", "2.0"])
    book.save()


def lcm(family):
    scheduler = diffusers.LCMScheduler(**BASE, set_alpha_to_one=True, steps_offset=1, original_inference_steps=50)
    pipe = build(family, LatentConsistencyModelPipeline, "pipeline_sd1", unet(23, time_cond_proj_dim=32, attention_head_dim=4), scheduler,
                 safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    book = new_book(family)
    for name, steps in (("lcm", 4), ("lcm_seven", 7)):
        at = lambda steps=steps, s=scheduler, **more: draw(pipe, s, steps, **{"guidance_scale": 8.5, "height": 16, "width": 16, **more})
        coarse = diffusers.LCMScheduler(**BASE, set_alpha_to_one=True, steps_offset=1, original_inference_steps=10)
        wrong = {
            "guidance": (at(guidance_scale=9.5), {"options": ["--cfg-scale", "9.5"]}),
            "guidance, none": (at(guidance_scale=1.0), {"options": ["--cfg-scale", "1"]}),
            "token": (at(prompt=OTHER), {"options": ["-p", OTHER]}),
            "steps": (at(steps=steps + 1), {"options": ["--steps", str(steps + 1)]}),
            "times": (at(s=coarse), {"scheduler": config(coarse)}),
            "seed": (at(seed=SEED + 1), {"options": ["-s", str(SEED + 1)]}),
        }
        book.run(name, at(), wrong, scheduler=config(scheduler), options=["--steps", str(steps), "--cfg-scale", "8.5"])
    book.save()


def inpaint2(family):
    ddim = diffusers.DDIMScheduler(**DDIM)
    euler_a = diffusers.EulerAncestralDiscreteScheduler(**LEADING)
    pipe = build(family, StableDiffusionInpaintPipeline, "pipeline_sd2", unet(24, in_channels=9, **SD2), ddim,
                 safety_checker=None, feature_extractor=None, requires_safety_checker=False)
    book = new_book(family, "-n", NEGATIVE, "-i", "@init.png", "--mask", "@mask.png", "--strength", "1")
    init, mask = pictures(book.folder)
    other = Image.new("L", (16, 16), 0)
    other.paste(255, (2, 4, 12, 14))
    other.save(os.path.join(book.folder, "other_mask.png"))
    for name, s in (("ddim", ddim), ("euler_a", euler_a)):
        at = lambda steps=8, **more: draw(pipe, s, steps, **{
            "image": init, "mask_image": mask, "height": 16, "width": 16, "strength": 1.0, "guidance_scale": 2.0,
            "negative_prompt": NEGATIVE, **more})
        wrong = {
            "mask": (at(mask_image=other), {"options": ["--mask", "@other_mask.png"]}),
            "token": (at(prompt=OTHER), {"options": ["-p", OTHER]}),
            "guidance": (at(guidance_scale=2.5), {"options": ["--cfg-scale", "2.5"]}),
            "steps": (at(steps=9), {"options": ["--steps", "9"]}),
            "seed": (at(seed=SEED + 1), {"options": ["-s", str(SEED + 1)]}),
        }
        book.run(name, at(), wrong, scheduler=config(s), options=["--steps", "8", "--cfg-scale", "2.0"])
    keep(pipe, book, at)
    book.save()


FAMILIES = {"pipeline_depth": depth, "pipeline_upscale": upscale, "pipeline_lcm": lcm, "pipeline_inpaint2": inpaint2}


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--only", choices=list(FAMILIES))
    only = p.parse_args().only
    for family, make in FAMILIES.items():
        if only in (None, family):
            make(family)


if __name__ == "__main__":
    main()
