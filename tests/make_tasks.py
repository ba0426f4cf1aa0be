"""make_tasks.py -- tiny checkpoints of every task of latent-diffusion, with their configurations, for tests/test_tasks.sh: the tool's
own synthetic weights put together under the authors' prefixes, so Python's standard library is enough.
    make_tasks.py path/to/ldm FOLDER
"""
import json
import random
import struct
import subprocess
import sys

ldm, folder = sys.argv[1:3]
stage = "kind=vq ch=32 ch_mult=1,2,4 num_res_blocks=1 z_channels=3 n_embed=64 attn_none=1"


def weights(net, config, seed):
    """The synthetic weights of a network: {name: (shape, bytes)}."""
    path = f"{folder}/part.safetensors"
    subprocess.run([ldm, "run", net, "--config", config, "--synthetic", str(seed), "--save-weights", path, "-q"], check=True, stdout=subprocess.DEVNULL)
    data = open(path, "rb").read()
    n = struct.unpack("<Q", data[:8])[0]
    return {k: (v["shape"], data[8 + n + v["data_offsets"][0]:8 + n + v["data_offsets"][1]]) for k, v in json.loads(data[8:8 + n]).items() if k != "__metadata__"}


def noise(*shape):
    count = 1
    for d in shape:
        count *= d
    r = random.Random(5)
    return list(shape), struct.pack(f"<{count}f", *(r.gauss(0, 0.3) for _ in range(count)))


def save(path, tensors):
    head, body = {}, b""
    for name, (shape, data) in tensors.items():
        head[name] = {"dtype": "F32", "shape": shape, "data_offsets": [len(body), len(body) + len(data)]}
        body += data
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    open(path, "wb").write(struct.pack("<Q", len(text)) + text + body)


def first_stage(config):
    return {"first_stage_model." + k: v for net in ("encoder", "decoder") for k, v in weights(net, config, 2).items()}


vq, kl = first_stage(stage), first_stage("kind=kl ch=32 ch_mult=1,2,4 num_res_blocks=1 z_channels=3 embed_dim=3 attn_none=1")
TASKS = {  # channels into the UNet, its context, condition stage's target and parameters, its weights, keys of the model
    "uncond": (3, None, "__is_unconditional__", {}, {}, {"cond_stage_key": "class_label", "concat_mode": "false"}),
    "churches": (3, None, "__is_unconditional__", {}, {}, {"cond_stage_key": "image", "concat_mode": "false", "scale_by_std": "true"}),
    "class": (3, 16, "ldm.modules.encoders.modules.ClassEmbedder", {"n_classes": 11, "embed_dim": 16, "key": "class_label"},
              {"embedding.weight": noise(11, 16)}, {"cond_stage_key": "class_label", "conditioning_key": "crossattn"}),
    "layout": (3, 32, "ldm.modules.encoders.modules.BERTEmbedder", {"n_embed": 32, "n_layer": 1, "vocab_size": 8192, "max_seq_len": 92, "use_tokenizer": "false"},
               weights("text", "kind=bert width=32 layers=1 length=92 vocab=8192", 3), {"cond_stage_key": "coordinates_bbox", "conditioning_key": "crossattn"}),
    "semantic": (6, None, "ldm.modules.encoders.modules.SpatialRescaler", {"n_stages": 2, "in_channels": 182, "out_channels": 3},
                 {"channel_mapper.weight": noise(3, 182, 1, 1)}, {"cond_stage_key": "segmentation", "concat_mode": "true"}),
    "upscale": (6, None, "torch.nn.Identity", {}, {}, {"cond_stage_key": "LR_image", "concat_mode": "true"}),
    "tokens": (3, 16, "torch.nn.Identity", {}, {}, {"cond_stage_key": "clip_img_embed", "conditioning_key": "crossattn"}),
    "depth": (4, 64, "ldm.modules.encoders.modules.FrozenOpenCLIPEmbedder", {"layer": "penultimate"},
              weights("text", "kind=openclip width=64 layers=2 heads=1 vocab=49408 length=77", 4), {"cond_stage_key": "txt", "conditioning_key": "hybrid"}),
    "inpaint": (7, None, "__is_first_stage__", {}, {}, {"cond_stage_key": "masked_image", "concat_mode": "true"}),
}


def lines(pairs, depth):
    return "".join(" " * depth + f"{k}: {v}\n" for k, v in pairs.items())


for name, (channels, context, target, params, extra, keys) in TASKS.items():
    unet = {"in_channels": channels, "out_channels": 3, "model_channels": 32, "num_res_blocks": 1, "channel_mult": "[1, 2]",
            "attention_resolutions": "[2]", "num_heads": 2}
    if context:
        unet.update({"use_spatial_transformer": "true", "transformer_depth": 1, "context_dim": context})
    churches = name == "churches"
    if churches:  # blocks of scale and shift that resample, latents of a KL autoencoder scaled by a number of the file
        unet.update({"use_scale_shift_norm": "true", "resblock_updown": "true"})
    text = " ".join(f"{k}={v}".replace("[", "").replace("]", "").replace(", ", ",").replace("=true", "=1") for k, v in unet.items())
    tensors = {"model.diffusion_model." + k: v for k, v in weights("unet", text, 1).items()}
    tensors.update(kl if churches else vq)
    if churches:
        tensors["scale_factor"] = [], struct.pack("<f", 0.25)
    tensors.update({"cond_stage_model." + k: v for k, v in extra.items()})
    save(f"{folder}/{name}.safetensors", tensors)
    cond = f"    cond_stage_config: {target}\n"
    if params or target.startswith("torch"):
        cond = f"    cond_stage_config:\n      target: {target}\n" + ("      params:\n" + lines(params, 8) if params else "")
    open(f"{folder}/{name}.yaml", "w").write(
        "model:\n  target: ldm.models.diffusion.ddpm." + ("LatentDepth2ImageDiffusion" if name == "depth" else "LatentDiffusion") + "\n  params:\n"
        + lines({"linear_start": 0.0015, "linear_end": 0.0195, "timesteps": 1000, "first_stage_key": "image", "image_size": 16, "channels": 3, **keys}, 4)
        + "    unet_config:\n      target: ldm.modules.diffusionmodules.openaimodel.UNetModel\n      params:\n" + lines({"image_size": 16, **unet}, 8)
        + "    first_stage_config:\n      target: ldm.models.autoencoder." + ("AutoencoderKL" if churches else "VQModelInterface")
        + "\n      params:\n        embed_dim: 3\n" + ("" if churches else "        n_embed: 64\n") + "        ddconfig:\n"
        + lines({"double_z": str(churches).lower(), "z_channels": 3, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32, "ch_mult": "[1, 2, 4]", "num_res_blocks": 1,
                 "attn_type": "none", "attn_resolutions": "[]", "dropout": 0.0}, 10) + cond)
