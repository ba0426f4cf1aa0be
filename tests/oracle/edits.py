"""edits.py -- a tiny Stable Diffusion of random weights as a diffusers folder, and what diffusers' own pipelines make with it: text to
image, image to image, inpainting, with six schedulers. Writes tests/fixtures/edits, which tests/test_edits_diffusers.sh compares `ldm gen` with.
    OMP_NUM_THREADS=1 .venv/bin/python tests/oracle/edits.py
"""
import json
import os
import shutil

import diffusers
import numpy as np
import torch
import transformers
from diffusers import (AutoencoderKL, DDIMScheduler, DPMSolverMultistepScheduler, EulerAncestralDiscreteScheduler, EulerDiscreteScheduler,
                       LMSDiscreteScheduler, PNDMScheduler, StableDiffusionImg2ImgPipeline, StableDiffusionInpaintPipeline, StableDiffusionPipeline,
                       UNet2DConditionModel)
from PIL import Image
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

torch.manual_seed(0)
torch.set_num_threads(1)
out = "tests/fixtures/edits"
shutil.rmtree(out, ignore_errors=True)
os.makedirs(out + "/model/tokenizer")


def tokenizer(path):
    """A byte-pair vocabulary of six merges."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("\u00a1"), ord("\u00ac") + 1), *range(ord("\u00ae"), ord("\u00ff") + 1)]
    letters = [chr(b) for b in printable] + [chr(256 + i) for i in range(256 - len(printable))]
    merges = ["c a", "ca t</w>", "r e", "re d</w>", "d o", "do g</w>"]
    words = letters + [c + "</w>" for c in letters] + [m.replace(" ", "") for m in merges] + ["<|startoftext|>", "<|endoftext|>"]
    special = {"bos_token": words[-2], "eos_token": words[-1], "unk_token": words[-1], "pad_token": words[-1]}
    json.dump({w: i for i, w in enumerate(words)}, open(path + "/vocab.json", "w"))
    open(path + "/merges.txt", "w").write("#version: 0.2\n" + "\n".join(merges) + "\n")
    json.dump({"tokenizer_class": "CLIPTokenizer", "model_max_length": 77, **special}, open(path + "/tokenizer_config.json", "w"))
    json.dump(special, open(path + "/special_tokens_map.json", "w"))
    return CLIPTokenizer.from_pretrained(path), len(words)


def rounded(module):
    """Weights that f16 holds, so that the file can be small."""
    for p in module.parameters():
        p.data = p.data.half().float()
    return module.eval()


tokens, vocab = tokenizer(out + "/model/tokenizer")
text = rounded(CLIPTextModel(CLIPTextConfig(vocab_size=vocab, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=2,
                                            bos_token_id=vocab - 2, eos_token_id=vocab - 1, hidden_act="quick_gelu")))
unet = rounded(UNet2DConditionModel(sample_size=16, in_channels=4, out_channels=4, block_out_channels=(32, 32), layers_per_block=1,
                                    down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
                                    cross_attention_dim=32, attention_head_dim=4))
vae = rounded(AutoencoderKL(down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, block_out_channels=(32, 32),
                            layers_per_block=1, latent_channels=4, sample_size=32))
betas = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
SCHEDULERS = {
    "ddim": DDIMScheduler(**betas, clip_sample=False, set_alpha_to_one=False, steps_offset=1),
    "pndm": PNDMScheduler(**betas, skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1),
    "euler": EulerDiscreteScheduler(**betas, steps_offset=1),
    "euler_a": EulerAncestralDiscreteScheduler(**betas, timestep_spacing="trailing"),
    "dpm": DPMSolverMultistepScheduler(**betas, use_karras_sigmas=True),
    "lms": LMSDiscreteScheduler(**betas),
}
y, x = np.mgrid[0:32, 0:32]
init = Image.fromarray(np.stack([x * 8, y * 8, 255 - x * 4], -1).astype(np.uint8))
mask = Image.fromarray((255 * (x < 16)).astype(np.uint8))
init.save(out + "/init.png")
mask.save(out + "/mask.png")
common = {"prompt": "a red cat", "negative_prompt": "dog", "num_inference_steps": 8, "guidance_scale": 7.5}


def run(pipeline, path, **more):
    pipeline.set_progress_bar_config(disable=True)
    z = pipeline(**common, **more, generator=torch.Generator().manual_seed(3), output_type="latent").images
    np.save(path + ".npy", z.numpy())
    with torch.no_grad():
        picture = pipeline.vae.decode(z / pipeline.vae.config.scaling_factor).sample
    pixels = ((picture / 2 + 0.5).clamp(0, 1)[0].permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(path + ".png")


for name, scheduler in SCHEDULERS.items():
    base = StableDiffusionPipeline(vae=vae, text_encoder=text, tokenizer=tokens, unet=unet, scheduler=scheduler, safety_checker=None,
                                   feature_extractor=None, requires_safety_checker=False)
    parts = {**base.components, "requires_safety_checker": False}
    run(base, f"{out}/{name}-text", height=32, width=32)
    scheduler.save_pretrained(f"{out}/schedulers/{name}")
    run(StableDiffusionImg2ImgPipeline(**parts), f"{out}/{name}-image", image=init, strength=0.6)
    run(StableDiffusionInpaintPipeline(**parts), f"{out}/{name}-paint", image=init, mask_image=mask, strength=0.6, height=32, width=32)
for part, module in (("text_encoder", text), ("unet", unet), ("vae", vae)):
    module.half().save_pretrained(f"{out}/model/{part}")
json.dump({"_class_name": "StableDiffusionPipeline", "_diffusers_version": diffusers.__version__, "scheduler": ["diffusers", "DDIMScheduler"],
           "text_encoder": ["transformers", "CLIPTextModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
           "unet": ["diffusers", "UNet2DConditionModel"], "vae": ["diffusers", "AutoencoderKL"], "safety_checker": [None, None],
           "feature_extractor": [None, None], "requires_safety_checker": False}, open(out + "/model/model_index.json", "w"), indent=1)
json.dump({"diffusers": diffusers.__version__, "transformers": transformers.__version__, "torch": torch.__version__}, open(out + "/facts.json", "w"))
