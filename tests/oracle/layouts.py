"""layouts.py -- what diffusers and transformers call the tensors of the fixtures' networks, and small model folders as they
write them: tests/fixtures/layouts.

names.json: of each fixture, the model diffusers builds and fills, by whose outputs the fixture was judged: its configuration,
and each tensor's name, shape and the first 16 digits of its SHA-256 (float32, C order). sd/, ldm/: whole pipelines by save_pretrained, in all the ways
that weights are stored: safetensors in shards, .bin, .bin in shards, an .fp16. variant, the older names of attention; with
what each part makes of an input (f64, rounded once), in expected/.

    .venv/bin/python tests/oracle/layouts.py
"""
import argparse
import hashlib
import json
import os
import shutil

import diffusers
import numpy as np
import torch
import transformers
from safetensors.torch import load_file

import nets_diffusers as hf
import nets_text
from witness import make_weights, parse

torch.set_grad_enabled(False)
HERE = os.path.dirname(os.path.abspath(__file__))
FIXTURES = os.path.join(HERE, "..", "fixtures")


def weights(name, prefix=""):
    state = load_file(os.path.join(FIXTURES, name, "weights.safetensors"))
    return {k.removeprefix(prefix): v for k, v in state.items()}


def config(name):
    return parse(json.load(open(os.path.join(FIXTURES, name, "fixture.json")))["config"])


def tensors(model, skip=()):
    out = {}
    for key, value in model.state_dict().items():
        if any(s in key for s in skip):
            continue
        digest = hashlib.sha256(value.float().contiguous().numpy().tobytes()).hexdigest()[:16]
        out[key] = [list(value.shape), digest]
    return out


def filled_unet(name):
    c = config(name)
    model = hf.build_unet(c)
    return hf.load(model, hf.unet_map(model, c), weights(name, "model.diffusion_model."),
                   lambda channels: channels // c["num_head_channels"])


def filled_stage(name):
    c = config(name)
    model = hf.build_autoencoder(c["kind"], c)
    return hf.load(model, {k: (hf.autoencoder_name(k, len(c["ch_mult"])), None) for k in model.state_dict()}, weights(name))


def filled_text(name):
    c = nets_text.defaults(config(name))
    state = {k.removeprefix("cond_stage_model."): v for k, v in weights(name).items()}
    if c["kind"] == "bert":
        return nets_text.diffusers_bert(c, state, torch.float32)[0]
    model = nets_text.transformers_clip(c)
    if c["kind"] == "openclip":
        state = nets_text.openclip_as_clip(state)
    return nets_text.filled(model, {k: state[n] for k, n in nets_text.clip_keys(model).items()}, torch.float32)


def names():
    out = {}
    for name in ("unet_cross", "unet_class", "unet_legacy", "unet_lcm", "unet_upscaler"):
        model = filled_unet(name)
        out[name] = {"config": dict(model.config), "tensors": tensors(model)}
    for name in ("kl", "vq", "vq_noattn"):
        model = filled_stage(name)
        out[name] = {"config": dict(model.config), "tensors": tensors(model)}
    for name in ("text_bert", "text_clip", "text_clip_gelu", "text_openclip"):
        model = filled_text(name)
        out[name] = {"config": {"architectures": [type(model).__name__]}, "tensors": tensors(model, ("to_logits", "position_ids"))}
    return out


def small(model, seed):
    """Fills a model with few-valued weights, which a repository packs well, of order one in what they make."""
    shapes = {k: list(v.shape) for k, v in model.state_dict().items()}
    state = make_weights(shapes, seed, [("to_q", 2.0), ("to_k", 2.0), ("conv_out", 0.5)])
    new = {}
    for k, v in state.items():
        v = v.float()
        step = v.abs().max() / 7 if v.dim() > 1 else torch.tensor(1.0 / 64)
        new[k] = ((v / step).round() * step).half().to(model.state_dict()[k].dtype)
    model.load_state_dict(new, strict=False)
    return model.eval()


OLD = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}


def older(path):
    """Renames the attention of a .bin or .safetensors file as diffusers wrote it until 2023."""
    from safetensors.torch import save_file

    state = load_file(path) if path.endswith(".safetensors") else torch.load(path, weights_only=True)
    new = {}
    for k, v in state.items():
        for a, b in OLD.items():
            k = k.replace(f".{a}.", f".{b}.")
        new[k] = v
    if path.endswith(".safetensors"):
        save_file(new, path, metadata={"format": "pt"})
    else:
        torch.save(new, path)


def folder(out, name):
    path = os.path.join(out, name)
    shutil.rmtree(path, ignore_errors=True)
    os.makedirs(os.path.join(path, "expected"))
    return path


def save(path, name, value):
    np.save(os.path.join(path, "expected", name + ".npy"), np.ascontiguousarray(value.float().numpy()))


def index(path, pipeline, **parts):
    json.dump({"_class_name": pipeline, "_diffusers_version": diffusers.__version__, **parts}, open(os.path.join(path, "model_index.json"), "w"), indent=2)


def stable_diffusion(out):
    path = folder(out, "sd")
    g = torch.Generator().manual_seed(5)
    unet = small(diffusers.UNet2DConditionModel(
        block_out_channels=(32,), down_block_types=("CrossAttnDownBlock2D",), up_block_types=("CrossAttnUpBlock2D",), layers_per_block=1,
        cross_attention_dim=64, attention_head_dim=4, in_channels=4, out_channels=4, sample_size=8), 11).half()
    vae = small(diffusers.AutoencoderKL(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=4, layers_per_block=1,
        sample_size=16), 12).half()
    text = small(transformers.CLIPTextModel(transformers.CLIPTextConfig(
        vocab_size=96, hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=1, max_position_embeddings=12,
        bos_token_id=94, eos_token_id=95)), 13).half()
    unet.save_pretrained(os.path.join(path, "unet"), max_shard_size="200KB")
    vae.save_pretrained(os.path.join(path, "vae"), safe_serialization=False)
    older(os.path.join(path, "vae", "diffusion_pytorch_model.bin"))
    text.save_pretrained(os.path.join(path, "text_encoder"), variant="fp16")
    diffusers.PNDMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", skip_prk_steps=True, steps_offset=1).save_pretrained(
        os.path.join(path, "scheduler"))
    os.makedirs(os.path.join(path, "safety_checker"))
    json.dump({"architectures": ["StableDiffusionSafetyChecker"]}, open(os.path.join(path, "safety_checker", "config.json"), "w"))
    index(path, "StableDiffusionPipeline", feature_extractor=[None, None], safety_checker=["stable_diffusion", "StableDiffusionSafetyChecker"],
          scheduler=["diffusers", "PNDMScheduler"], text_encoder=["transformers", "CLIPTextModel"], tokenizer=["transformers", "CLIPTokenizer"],
          unet=["diffusers", "UNet2DConditionModel"], vae=["diffusers", "AutoencoderKL"])
    ids = torch.randint(0, 94, (1, 12), generator=g)
    ids[:, -1] = 95
    x, z = torch.randn(1, 4, 8, 8, generator=g), torch.randn(1, 4, 6, 4, generator=g)
    unet, vae, text = unet.double(), vae.double(), text.double()
    context = text(ids).last_hidden_state
    unet.time_proj = hf.TimeProjection(32)
    t = torch.tensor([501.0])
    for name, v in (("ids", ids), ("context", context), ("x", x), ("t", t), ("z", z),
                    ("y", unet(x.double(), t, encoder_hidden_states=context.float().double()).sample), ("picture", vae.decode(z.double()).sample)):
        save(path, name, v)


def unconditional(out):
    path = folder(out, "ldm")
    g = torch.Generator().manual_seed(6)
    unet = small(diffusers.UNet2DModel(
        block_out_channels=(32,), down_block_types=("AttnDownBlock2D",), up_block_types=("AttnUpBlock2D",), layers_per_block=1, attention_head_dim=8,
        in_channels=3, out_channels=3, sample_size=8), 21)
    vq = small(diffusers.VQModel(
        block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2, latent_channels=3, layers_per_block=1, num_vq_embeddings=64,
        sample_size=16), 22).bfloat16()
    unet.half().save_pretrained(os.path.join(path, "unet"), safe_serialization=False, max_shard_size="150KB")
    for name in os.listdir(os.path.join(path, "unet")):
        if name.endswith(".bin"):
            older(os.path.join(path, "unet", name))
    where = os.path.join(path, "unet", "diffusion_pytorch_model.bin.index.json")
    text = open(where).read()
    for a, b in OLD.items():
        text = text.replace(f".{a}.", f".{b}.")
    open(where, "w").write(text)
    vq.save_pretrained(os.path.join(path, "vqvae"))
    diffusers.DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear", clip_sample=False).save_pretrained(os.path.join(path, "scheduler"))
    index(path, "LDMPipeline", scheduler=["diffusers", "DDIMScheduler"], unet=["diffusers", "UNet2DModel"], vqvae=["diffusers", "VQModel"])
    x, z = torch.randn(1, 3, 8, 8, generator=g), torch.randn(1, 3, 4, 6, generator=g)
    unet, vq = unet.double(), vq.double()
    unet.time_proj = hf.TimeProjection(32)
    t = torch.tensor([77.0])
    for name, v in (("x", x), ("t", t), ("y", unet(x.double(), t).sample), ("z", z), ("picture", vq.decode(z.double()).sample)):
        save(path, name, v)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", default=os.path.join(FIXTURES, "layouts"))
    a = p.parse_args()
    os.makedirs(a.out, exist_ok=True)
    book = {"made_by": {"torch": torch.__version__, "diffusers": diffusers.__version__, "transformers": transformers.__version__}, "fixtures": names()}
    json.dump(book, open(os.path.join(a.out, "names.json"), "w"), indent=1, default=list)
    stable_diffusion(a.out)
    unconditional(a.out)


if __name__ == "__main__":
    main()
