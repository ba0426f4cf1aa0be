"""authors_pipelines.py -- makes tests/fixtures/pipeline_*: every other task of latent-diffusion as the authors run it. Tiny
models of random weights are built from a yaml file by their own LatentDiffusion (UNet, text encoder with its tokenizer,
rescaler, first stage), saved as their trainer does, opened again and drawn with as their scripts do: txt2img.py,
sample_diffusion.py, inpaint.py, knn2img.py, the notebooks for super-resolution. What is kept is what pipelines.py keeps, and
the inputs.

    .venv/bin/python tests/oracle/authors_pipelines.py --ldm DIR --taming DIR [--only pipeline_text]

Checkouts of CompVis/latent-diffusion and CompVis/taming-transformers (quantizer, tokens of layouts). Of what their packages
import besides, Lightning's module is torch's here, and the rest is not called.

A VQ model's picture is decoded from the witness's codes: NAME_codes.npy, and in NAME_slack.npy how far every element of the
latent may be off before a pixel's code can change: code k is the nearest of z + d, |d| <= s, as long as
2 s |e_j - e_k|_1 < |z - e_j|^2 - |z - e_k|^2 for all j.
"""
import argparse
import ast
import contextlib
import importlib
import json
import os
import shutil
import sys
import time
import types

import numpy as np
import torch
import yaml
from omegaconf import OmegaConf
from PIL import Image

import conditions
import nets_authors
from pipelines import HERE, OUT, SEED, TOLERANCE, Book, bytes_of
from witness import make_weights

STEPS = 8
VOCAB = os.path.join(HERE, "..", "..", "host", "text", "vocab", "bert-base-uncased.txt")
GAINS = [("time_embed", 2.0), ("emb_layers", 2.0), ("attn2.to_v", 5.0), ("attn2.to_out", 5.0), ("to_q", 1.5), ("to_k", 1.5),
         ("out.2", 0.6), ("decoder.conv_out", 0.5), ("channel_mapper", 8.0)]  # of which a label takes one column


# ---- the authors' packages -----------------------------------------------------------------------------------------------

def bring(clone, taming):
    """Puts both checkouts on the path; returns their commits."""
    module = lambda name, **has: sys.modules.setdefault(name, types.SimpleNamespace(__name__=name, __path__=[], **has))
    lightning = type("LightningModule", (torch.nn.Module,), {"device": torch.device("cpu")})
    module("pytorch_lightning", LightningModule=lightning)
    module("pytorch_lightning.utilities")
    module("pytorch_lightning.utilities.distributed", rank_zero_only=lambda f: f)
    module("torchvision")
    module("torchvision.utils", make_grid=None)
    module("clip"), module("kornia")
    sys.path.insert(0, taming)
    importlib.import_module("taming.modules.vqvae.quantize")  # before nets_authors puts a hollow one there
    commit = nets_authors.bring(clone)
    import transformers  # the tokenizer that is on the hub, from our copy of its vocabulary
    transformers.BertTokenizerFast.from_pretrained = lambda name: transformers.BertTokenizerFast(vocab=VOCAB, do_lower_case=True)
    modules = importlib.import_module("ldm.modules.encoders.modules")
    for cls in (modules.BERTTokenizer, modules.BERTEmbedder):
        cls.__init__.__defaults__ = tuple("cpu" if v == "cuda" else v for v in cls.__init__.__defaults__)
    return {"torch": torch.__version__, "transformers": transformers.__version__, "latent-diffusion": commit,
            "taming-transformers": conditions.commit(taming)}


def vq(levels, **more):
    return {"target": "ldm.models.autoencoder.VQModelInterface", "params": {
        "embed_dim": 3, "n_embed": 64, "ddconfig": dict(stage(3, levels, False), **more),
        "lossconfig": {"target": "torch.nn.Identity"}}}


def kl(levels):
    return {"target": "ldm.models.autoencoder.AutoencoderKL", "params": {
        "embed_dim": 4, "ddconfig": stage(4, levels, True), "lossconfig": {"target": "torch.nn.Identity"}}}


def stage(channels, levels, double):
    return {"double_z": double, "z_channels": channels, "resolution": 256, "in_channels": 3, "out_ch": 3, "ch": 32,
            "ch_mult": [1] * levels, "num_res_blocks": 1, "attn_resolutions": [], "dropout": 0.0}


def unet(channels, extra=0, mult=(1,), **more):
    """Scale-shift norm everywhere: groups of one channel would take a time away that is only added before them."""
    return {"target": "ldm.modules.diffusionmodules.openaimodel.UNetModel", "params": {
        "image_size": 8, "in_channels": channels + extra, "out_channels": channels, "model_channels": 32,
        "attention_resolutions": [1], "num_res_blocks": 1, "channel_mult": list(mult), "use_scale_shift_norm": True, **more}}


def transformer(width, **heads):
    return dict(heads, use_spatial_transformer=True, transformer_depth=1, context_dim=width)


def bert(width, **more):
    return {"target": "ldm.modules.encoders.modules.BERTEmbedder", "params": {"n_embed": width, "n_layer": 1, **more}}


IDENTITY = {"target": "torch.nn.Identity"}
# File, and of LatentDiffusion: networks and parameters, as in the authors' configuration of the same task, but for less noise:
# what is untrained drives a latent to 1 / sqrt(abar) of the last level, beside which a condition would be nothing.
FAMILIES = {
    "pipeline_text": ("model.ckpt", dict(  # txt2img-1p4B
        unet_config=unet(4, **transformer(8, num_heads=8)), first_stage_config=kl(2), cond_stage_config=bert(8, vocab_size=2400),
        linear_start=0.00085, linear_end=0.004, cond_stage_key="caption", channels=4, cond_stage_trainable=True,
        conditioning_key="crossattn", scale_factor=0.18215, use_ema=False)),
    "pipeline_uncond": ("model.ckpt", dict(  # celeba256; the one with averaged weights beside others
        unet_config=unet(3, num_head_channels=32), first_stage_config=vq(2), cond_stage_config="__is_unconditional__",
        linear_start=0.0015, linear_end=0.006, cond_stage_key="class_label", channels=3, concat_mode=False)),
    "pipeline_layout": ("model.ckpt", dict(  # layout2img-openimages256
        unet_config=unet(3, **transformer(8, num_head_channels=32)), first_stage_config=vq(2),
        cond_stage_config=bert(8, vocab_size=8192, max_seq_len=92, use_tokenizer=False), linear_start=0.0015,
        linear_end=0.006, cond_stage_key="coordinates_bbox", channels=3, conditioning_key="crossattn",
        cond_stage_trainable=True, use_ema=False)),
    "pipeline_semantic": ("model.safetensors", dict(  # semantic_synthesis256: attention in the middle only
        unet_config=unet(3, 3, num_heads=8, attention_resolutions=[32, 16, 8]), first_stage_config=vq(2),
        cond_stage_config={"target": "ldm.modules.encoders.modules.SpatialRescaler",
                           "params": {"n_stages": 1, "in_channels": 182, "out_channels": 3}},
        linear_start=0.0015, linear_end=0.006, cond_stage_key="segmentation", channels=3, concat_mode=True,
        cond_stage_trainable=True, use_ema=False)),
    "pipeline_superres": ("model.ckpt", dict(  # bsr_sr
        unet_config=unet(3, 3, (1, 1), num_head_channels=32, attention_resolutions=[2]), first_stage_config=vq(3),
        cond_stage_config=IDENTITY, linear_start=0.0015, linear_end=0.006, cond_stage_key="LR_image", channels=3,
        concat_mode=True, use_ema=False)),
    "pipeline_inpaint_ldm": ("model.ckpt", dict(  # inpainting_big
        unet_config=unet(3, 4, (1, 1), num_heads=8, resblock_updown=True, attention_resolutions=[2]),
        first_stage_config=vq(2, attn_type="none"), cond_stage_config="__is_first_stage__", linear_start=0.0015,
        linear_end=0.006, cond_stage_key="masked_image", channels=3, concat_mode=True, use_ema=False)),
    "pipeline_retrieval": ("model.safetensors", dict(  # retrieval-augmented-diffusion/768x768
        unet_config=unet(4, **transformer(32, num_head_channels=32)), first_stage_config=kl(2), cond_stage_config=IDENTITY,
        linear_start=0.0015, linear_end=0.006, cond_stage_key="nix", channels=4, conditioning_key="crossattn",
        scale_factor=0.22765929, use_ema=False)),
}


def instantiate(path):
    with contextlib.redirect_stdout(sys.stderr):
        return importlib.import_module("ldm.util").instantiate_from_config(OmegaConf.load(path).model)


def build(folder, file, params, seed):
    """Writes the model as trained, and opens it again as their scripts do."""
    path, config = os.path.join(folder, file), os.path.join(folder, "config.yaml")
    with open(config, "w") as f:
        yaml.safe_dump({"model": {"target": "ldm.models.diffusion.ddpm.LatentDiffusion", "params": dict(
            timesteps=1000, first_stage_key="image", image_size=8, **params)}}, f, sort_keys=False)
    model = instantiate(config)
    state = model.state_dict()
    shapes = {k: list(v.shape) for k, v in model.named_parameters() if not k.startswith("model_ema.")}
    weights = make_weights(shapes, seed, GAINS)
    if params.get("use_ema", True):  # the averages are what is drawn with
        names = model.model_ema.m_name2s_name
        for k in [k for k in weights if k.startswith("model.")]:
            state["model_ema." + names[k.removeprefix("model.")]] = weights[k]
        weights.update(make_weights({k: v for k, v in shapes.items() if k.startswith("model.")}, seed + 1, GAINS))
    state.update(weights)
    twin = "cond_stage_model." if params["cond_stage_config"] == "__is_first_stage__" else None
    for k in [k for k in state if twin and k.startswith(twin)]:
        state[k] = state["first_stage_model." + k.removeprefix(twin)]
    if file.endswith(".ckpt"):
        torch.save({"epoch": 0, "global_step": 1, "pytorch-lightning_version": "1.4.2", "state_dict": state, "callbacks": {},
                    "optimizer_states": [], "lr_schedulers": []}, path)
        read = torch.load(path, map_location="cpu")["state_dict"]
    else:
        from safetensors.torch import load_file, save_file
        save_file({k: v.contiguous() for k, v in state.items()}, path)
        read = load_file(path)
    model = instantiate(config)
    missing, unexpected = model.load_state_dict(read, strict=False)
    assert not missing and not unexpected, (missing, unexpected)
    return model.eval()


# ---- drawing ---------------------------------------------------------------------------------------------------------------

class Witness:
    def __init__(self, model):
        self.model, self.samplers = model, {}
        for name, cls in (("ddim", "DDIMSampler"), ("plms", "PLMSSampler")):
            kind = getattr(importlib.import_module("ldm.models.diffusion." + name), cls)
            kind.register_buffer = lambda self, name, attr: setattr(self, name, attr)  # theirs moves it to a GPU
            self.samplers[name] = kind

    def draw(self, name, c, uc=None, scale=1.0, steps=STEPS, eta=0.0, seed=SEED, shift=0, averaged=True,
             blend=None, side=8, **more):
        """(latents of every step, decoded picture in [-1,1], what is shown of it)"""
        model = self.model
        told = type(model).apply_model
        model.apply_model = lambda x, t, cond, **k: told(model, x, t + shift, cond, **k)
        torch.manual_seed(seed)
        with contextlib.redirect_stdout(sys.stderr), \
                contextlib.redirect_stderr(open(os.devnull, "w")), model.ema_scope() if averaged else contextlib.nullcontext():
            z, kept = self.samplers[name](model).sample(
                S=steps, conditioning=c, batch_size=1, shape=(model.channels, side, side), verbose=False, log_every_t=1, eta=eta,
                unconditional_guidance_scale=scale, unconditional_conditioning=uc, **more)
            picture = model.decode_first_stage(z)[0]
        del model.apply_model
        latents = torch.cat(kept["x_inter"][1:])
        assert torch.equal(latents[-1], z[0]) and len(latents) == steps
        return latents, picture, picture if blend is None else blend(picture)

    def codes(self, z):
        """Of [1,c,h,w]: codes [1,h,w] by their quantizer, slack [1,h,w]."""
        quantizer = self.model.first_stage_model.quantize
        code = quantizer(z)[2][2].reshape(z.shape[0], *z.shape[2:])
        book = quantizer.embedding.weight.double()
        flat = z.double().permute(0, 2, 3, 1).reshape(-1, 1, z.shape[1])
        d = ((flat - book) ** 2).sum(-1)
        mine = code.reshape(-1)
        gap = d - d.gather(1, mine[:, None])
        far = 2 * (book[None] - book[mine][:, None]).abs().sum(-1)
        far[torch.arange(len(mine)), mine] = 1e-30
        gap[torch.arange(len(mine)), mine] = 1  # itself is no other
        return code, (gap / far).min(1).values.reshape(code.shape)


def keep(folder, name, array):
    np.save(os.path.join(folder, name + ".npy"), np.ascontiguousarray(array))
    return "@" + name + ".npy"


def record(book, witness, name, options, right, wrong, unlike=None):
    """right: arguments of draw; wrong: what -> (arguments that differ, options that do the same). unlike: the same of what the
    tool has no option for; their latents are kept, to be told apart: NAME_WHAT.npy."""
    draw = lambda **more: witness.draw(**{**right, **more})
    latents, picture, shown = draw()
    more = {}
    if hasattr(witness.model.first_stage_model, "quantize"):
        code, slack = witness.codes(latents[-1:])
        assert slack.min() > TOLERANCE, f"{name}: a pixel lies between two codewords ({slack.min()})"
        keep(book.folder, name + "_codes", code.int().numpy()), keep(book.folder, name + "_slack", slack.float().numpy())
        more["codes"] = True
    if unlike:
        more["unlike"] = {}
        for k, how in unlike.items():
            other = draw(**how)[0][-1:]
            keep(book.folder, f"{name}_{k}", other.numpy())
            more["unlike"][k] = moves = round((other[0] - latents[-1]).abs().max().item() / TOLERANCE, 1)
            assert moves >= 20, f"{name}: {k} moves the latent by {moves} tolerances"
    drawn = {k: draw(**how) for k, (how, _) in wrong.items()}
    for k, v in drawn.items():
        assert (v[0][-1] - latents[-1]).abs().max() >= 20 * TOLERANCE, f"{name}: {k} moves the latent too little"
    book.run(name, (latents, picture), {k: (drawn[k][::2], {"options": o}) for k, (_, o) in wrong.items()}, shown=shown,
             options=["--steps", str(STEPS), "--sampling-method", right["name"]] + options, **more)


def picture_of(folder, name, size, box):
    with Image.open(os.path.join(HERE, "..", "data", "photos", "astronaut.png")) as im:
        small = im.convert("RGB").crop(box).resize((size, size), Image.BOX)
    small.save(os.path.join(folder, name + ".png"))
    return small


def tensor_of(image):
    """[1,3,h,w] in [-1,1], as their data sets make it"""
    return torch.from_numpy((np.array(image) / 127.5 - 1.0).astype(np.float32)).permute(2, 0, 1)[None]


@contextlib.contextmanager
def in_windows(model, f):
    """Their patched mode, first stage included: 8 x 8 elements of a latent (pixels of a picture to encode) every 4."""
    model.split_input_params = dict(ks=(8, 8), stride=(4, 4), vqf=f, patch_distributed_vq=True, tie_braker=False,
                                    clip_min_weight=0.01, clip_max_weight=0.5)
    yield
    del model.split_input_params


TIMES = {"later": {"shift": 1}, "earlier": {"shift": -1}}
FEWER_STEPS = ({"steps": 4}, ["--steps", "4"])


def text(w, book, a):
    prompt, other, scale = "the man in the house", "the man on the house", 3.0
    encode = lambda s: w.model.get_learned_conditioning([s])
    c, uc = encode(prompt), encode("")
    book.info["options"] = ["-p", prompt, "-s", str(SEED), "--cfg-scale", str(scale)]
    keep(book.folder, "context", torch.cat([uc, c]).numpy())
    for name, swap in (("ddim", "plms"), ("plms", "ddim")):
        record(book, w, name, [], dict(name=name, c=c, uc=uc, scale=scale), {
            "token": ({"c": encode(other)}, ["-p", other]), "prompt that is empty": ({"c": uc}, ["--prompt="]),
            "negative prompt": ({"uc": encode(other)}, ["-n", other]),
            "guidance": ({"scale": scale + 0.5}, ["--cfg-scale", str(scale + 0.5)]),
            "steps": FEWER_STEPS, "sampler": ({"name": swap}, ["--sampling-method", swap])}, TIMES)


def uncond(w, book, a):
    book.info["options"] = ["-s", str(SEED)]
    for name, eta in (("ddim_eta1", 1.0), ("ddim", 0.0)):  # sample_diffusion.py's, and without noise
        half = ({"eta": 0.5}, ["--eta", "0.5"])
        wrong = {"steps": FEWER_STEPS, "eta": half, "seed": ({"seed": SEED + 1}, ["-s", str(SEED + 1)])}
        if not eta:
            wrong["sampler"] = ({"name": "plms"}, ["--sampling-method", "plms"])
            wrong["weights, which are not the averages"] = ({"averaged": False}, ["--ema", "off"])
        record(book, w, name, ["--eta", str(eta)], dict(name="ddim", c=None, eta=eta), wrong, TIMES)
    encode_codes(w, book)


def encode_codes(w, book):
    """The first stage's other half: the codes of a photograph."""
    image = picture_of(book.folder, "photo", 16, (200, 60, 328, 188))
    code, slack = w.codes(w.model.encode_first_stage(tensor_of(image)))
    keep(book.folder, "photo_codes", code.int().numpy()), keep(book.folder, "photo_slack", slack.float().numpy())
    with in_windows(w.model, 2):  # as a strength of 0 shows it: at the first time, with noise that is none
        z = w.model.encode_first_stage(tensor_of(image))
    keep(book.folder, "photo_windows", (z * w.model.alphas_cumprod[1].sqrt()).numpy())
    keep(book.folder, "no_noise", 0 * z.numpy())
    print(f"photo: {code.unique().numel()} codes, slack {slack.min():.2g} .. {slack.max():.2g}")
    assert code.unique().numel() > 5 and (slack > TOLERANCE).double().mean() > 0.9


def layout(w, book, a):
    boxes = [{"class": 60, "x0": 0.125, "y0": 0.25, "x1": 0.5, "y1": 1.0, "modifiers": ["occluded"]},
             {"class": 7, "x0": 0.0, "y0": 0.0, "x1": 1.0, "y1": 0.375}]
    layouts = {"layout": boxes, "other": [dict(boxes[0], **{"class": 61}), boxes[1]],
               "moved": [boxes[0], dict(boxes[1], y1=0.5)], "empty": []}
    tokens = conditions.layout_tokens(a.taming)
    context = {}
    for k, v in layouts.items():
        with open(os.path.join(book.folder, k + ".json"), "w") as f:
            json.dump(v, f)
        context[k] = w.model.get_learned_conditioning(tokens(v, 340)[None])
    book.info["options"] = ["-s", str(SEED), "--layout", "@layout.json"]
    keep(book.folder, "context", context["layout"].numpy())
    wrong = lambda k: ({"c": context[k]}, ["--layout", f"@{k}.json"])
    record(book, w, "ddim", [], dict(name="ddim", c=context["layout"]), {
        "class": wrong("other"), "corner": wrong("moved"), "layout without boxes": wrong("empty"), "steps": FEWER_STEPS,
        "sampler": ({"name": "plms"}, ["--sampling-method", "plms"])}, TIMES)
    record(book, w, "plms", [], dict(name="plms", c=context["layout"]), {"class": wrong("other"), "steps": FEWER_STEPS})


def semantic(w, book, a):
    y, x = np.mgrid[:16, :16]
    maps = {"map": np.where(x + y // 3 < 9, 7, 90), "other": np.where(x + y // 3 < 9, 8, 90), "blank": 0 * x}
    condition = {}
    for k, v in maps.items():
        Image.fromarray(v.astype(np.uint8)).save(os.path.join(book.folder, k + ".png"))
        one_hot = torch.nn.functional.one_hot(torch.from_numpy(v), 182)[None].float()
        ddpm = importlib.import_module("ldm.models.diffusion.ddpm").DDPM
        condition[k] = w.model.get_learned_conditioning(ddpm.get_input(w.model, {"segmentation": one_hot}, "segmentation"))
    concat(w, book, "--semantic", condition, "map", {"label": "other", "map of one label": "blank"}, 0.0)


def superres(w, book, a):
    image = picture_of(book.folder, "small", 8, (200, 60, 328, 188))
    turned = image.transpose(Image.FLIP_LEFT_RIGHT)
    turned.save(os.path.join(book.folder, "turned.png"))
    grey = Image.new("RGB", (8, 8), (127, 127, 127))
    grey.save(os.path.join(book.folder, "grey.png"))
    pictures = {"small": image, "turned": turned, "grey": grey}
    condition = {k: w.model.get_learned_conditioning(tensor_of(v)) for k, v in pictures.items()}
    concat(w, book, "--upscale", condition, "small", {"picture": "turned", "picture without content": "grey"}, 1.0)
    large = picture_of(book.folder, "windows_small", 16, (200, 60, 328, 188))
    with in_windows(w.model, 4):  # tests/test_windows.sh
        latents, picture, _ = w.draw("ddim", w.model.get_learned_conditioning(tensor_of(large)), side=16)
    slack = w.codes(latents[-1:])[1].min().item()
    assert slack > 2e-4, f"windows: a pixel lies between two codewords ({slack})"
    keep(book.folder, "windows_latent", latents[-1:].numpy())
    bytes_of(picture).save(os.path.join(book.folder, "windows.png"))


def concat(w, book, option, condition, right, others, eta):
    book.info["options"] = ["-s", str(SEED), option, f"@{right}.png"]
    keep(book.folder, "concat", condition[right].numpy())
    changed = {k: ({"c": condition[v]}, [option, f"@{v}.png"]) for k, v in others.items()}
    first = dict(name="ddim", c=condition[right], eta=eta)
    wrong = {**changed, "steps": FEWER_STEPS, "eta": ({"eta": 0.5}, ["--eta", "0.5"])}
    record(book, w, "ddim", ["--eta", str(eta)], first, wrong, TIMES)
    record(book, w, "plms", [], dict(first, name="plms", eta=0.0),
           {"sampler": ({"name": "ddim"}, ["--sampling-method", "ddim", "--eta", "0"]), "steps": FEWER_STEPS})


def inpaint_ldm(w, book, a):
    picture_of(book.folder, "init", 16, (200, 60, 328, 188))
    for k, box in (("mask", (6, 4, 16, 14)), ("other", (2, 4, 12, 14))):
        mask = Image.new("L", (16, 16), 0)
        mask.paste(255, box)
        mask.save(os.path.join(book.folder, k + ".png"))
    make_batch = conditions.function(
        os.path.join(a.ldm, "scripts", "inpaint.py"), "make_batch", dict(np=np, torch=torch, Image=Image))
    unit = lambda v: torch.clamp((v + 1.0) / 2.0, min=0.0, max=1.0)

    def condition(name, hole=None, polarity=1.0, order=(0, 1)):
        """The body of their script; the rest are Stable Diffusion's conventions, which these models do not follow."""
        batch = make_batch(os.path.join(book.folder, "init.png"), os.path.join(book.folder, name + ".png"), "cpu")
        if hole is not None:
            batch["masked_image"] = torch.where(batch["mask"] > 0, torch.full_like(batch["image"], hole), batch["image"])
        c = w.model.cond_stage_model.encode(batch["masked_image"])
        cc = torch.nn.functional.interpolate(batch["mask"], size=c.shape[-2:])
        cc = cc if polarity == 1.0 else (cc + 1) / 2
        mask = unit(batch["mask"])[0]
        return dict(c=torch.cat([(c, cc)[i] for i in order], dim=1),
                    blend=lambda p: ((1 - mask) * unit(batch["image"])[0] + mask * unit(p)) * 2 - 1)

    right = condition("mask")
    book.info["options"] = ["-s", str(SEED), "-i", "@init.png", "--mask", "@mask.png"]
    keep(book.folder, "concat", right["c"].numpy())
    unlike = dict(TIMES, grey_hole=condition("mask", hole=0.0), mask_of_0_and_1=condition("mask", polarity=0.0),
                  mask_first=condition("mask", order=(1, 0)))
    record(book, w, "ddim", [], dict(name="ddim", **right), {
        "mask": (condition("other"), ["--mask", "@other.png"]), "steps": FEWER_STEPS,
        "sampler": ({"name": "plms"}, ["--sampling-method", "plms"])}, unlike)
    record(book, w, "plms", [], dict(name="plms", **right), {"steps": FEWER_STEPS})


def retrieval(w, book, a):
    """An embedding of a text and its nearest neighbours' of a data base, by the script's own search; a brute-force searcher."""
    g = np.random.default_rng(23)
    database = g.standard_normal((40, 32)).astype(np.float32)
    path = os.path.join(a.ldm, "scripts", "knn2img.py")
    search = next(n for c in ast.parse(open(path).read()).body if isinstance(c, ast.ClassDef) and c.name == "Searcher"
                  for n in c.body if isinstance(n, ast.FunctionDef) and n.name == "search")
    scope = {"np": np, "torch": torch, "time": time}
    exec(compile(ast.Module([search], []), path, "exec"), scope)
    normal = database / np.linalg.norm(database, axis=1)[:, np.newaxis]

    def search_batched(q, final_num_neighbors):
        order = np.argsort(-(q @ normal.T), axis=1, kind="stable")[:, :final_num_neighbors]
        return order, None

    me = types.SimpleNamespace(searcher=types.SimpleNamespace(search_batched=search_batched), database={
        "embedding": database, "img_id": np.arange(40), "patch_coords": np.zeros((40, 4))})
    z = torch.from_numpy(g.standard_normal((1, 32)).astype(np.float32))
    query = (z / torch.linalg.norm(z, dim=1, keepdim=True))[:, None, :]  # FrozenCLIPTextEmbedder's last lines
    context = lambda k: torch.cat([query, torch.from_numpy(scope["search"](me, query, k)["nn_embeddings"])], dim=1)
    scale = 5.0
    c, fewer = context(4), context(3)
    swapped = c.clone()
    swapped[0, 4] = torch.from_numpy(normal[np.argmin(query[0, 0].numpy() @ normal.T)])
    contexts = {"tokens": c, "fewer": fewer, "swapped": swapped, "zeros": 0 * c}
    arrays = {k: keep(book.folder, k, v[0].numpy()) for k, v in contexts.items()}
    keep(book.folder, "context", torch.cat([0 * c, c]).numpy())
    book.info["options"] = ["-s", str(SEED), "--context", arrays["tokens"], "--cfg-scale", str(scale)]
    right = dict(c=c, uc=torch.zeros_like(c), scale=scale)
    wrong = {"number of neighbours": (dict(c=fewer, uc=torch.zeros_like(fewer)), ["--context", arrays["fewer"]]),
             "neighbour": (dict(c=swapped), ["--context", arrays["swapped"]]),
             "context, of zeros": (dict(c=0 * c), ["--context", arrays["zeros"]]),
             "guidance": (dict(scale=scale + 0.5), ["--cfg-scale", str(scale + 0.5)]), "steps": FEWER_STEPS}
    record(book, w, "ddim", [], dict(name="ddim", **right), wrong, TIMES)
    record(book, w, "plms", [], dict(name="plms", **right),
           {"sampler": ({"name": "ddim"}, ["--sampling-method", "ddim"]), "neighbour": wrong["neighbour"]})


def make(a, made_by, folder, file, params):
    """With the first weights under which no pixel of a picture lies between two codewords and every wrong answer is far."""
    for seed in range(11, 31):
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(folder)
        book = Book(folder, made_by, [])
        book.info["weights_seed"] = seed
        try:
            globals()[os.path.basename(folder).removeprefix("pipeline_")](Witness(build(folder, file, params, seed)), book, a)
            return book.save()
        except AssertionError as e:
            print(f"{os.path.basename(folder)}: weights of seed {seed}: {e}", flush=True)
    raise SystemExit("no weights will do: scale them")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--ldm", required=True)
    p.add_argument("--taming", required=True)
    p.add_argument("--only", choices=list(FAMILIES))
    p.add_argument("--out", default=OUT)
    a = p.parse_args()
    made_by = bring(a.ldm, a.taming)
    for family, (file, params) in FAMILIES.items():
        if a.only in (None, family):
            make(a, made_by, os.path.join(a.out, family), file, params)


if __name__ == "__main__":
    main()
