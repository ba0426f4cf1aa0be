"""nets_authors.py -- the fixtures' networks built from the authors' own classes (CompVis/latent-diffusion, a checkout that
the user brings: CLONE=path). Only the network definitions are imported; what their packages import besides is stubbed here.
"""
import ast
import contextlib
import importlib
import os
import subprocess
import sys
import types

import torch

from witness import DoubleFloat, timestep_embedding


def bring(clone):
    """Puts the checkout on the path; returns its commit."""
    sys.path.insert(0, clone)
    for name in ("pytorch_lightning", "taming"):
        sys.modules.setdefault(name, types.ModuleType(name))
    commit = subprocess.run(["git", "-C", clone, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    return commit or "unknown"


def build_unet(c):
    if set(c) & {"use_linear_in_transformer", "disable_self_attentions", "num_classes", "time_cond_proj_dim"}:
        return None  # of later repositories
    m = importlib.import_module("ldm.modules.diffusionmodules.openaimodel")
    args = dict(c, image_size=32, channel_mult=tuple(c["channel_mult"]))
    return m.UNetModel(**args)


def unet_shapes(c):
    return {k: list(v.shape) for k, v in build_unet(c).state_dict().items()}


def unet(c, state, dtype):
    m = importlib.import_module("ldm.modules.diffusionmodules.openaimodel")
    model = build_unet(c)
    model.load_state_dict({k: v.float() for k, v in state.items()})
    model = model.to(dtype).eval()
    model.dtype = dtype

    def call(x, t, context=None):
        theirs = m.timestep_embedding  # replaced by an exact one, as for diffusers
        m.timestep_embedding = lambda t, dim, repeat_only=False: timestep_embedding(t, dim).to(dtype)
        context = None if context is None else context.to(dtype)
        try:
            with DoubleFloat() if dtype == torch.float64 else contextlib.nullcontext():
                return model(x.to(dtype), t, context=context)
        finally:
            m.timestep_embedding = theirs

    return call


def windowed(net, clone, size, stride, dtype):
    """Their patched sampling (ddpm.py, apply_model with `split_input_params`): the methods that cut and blend are taken out of the
    file, as its imports are many; what calls them is short."""
    path = os.path.join(clone, "ldm/models/diffusion/ddpm.py")
    wanted = ("meshgrid", "delta_border", "get_weighting", "get_fold_unfold")
    methods = [n for c in ast.parse(open(path).read()).body if isinstance(c, ast.ClassDef) and c.name == "LatentDiffusion"
               for n in c.body if isinstance(n, ast.FunctionDef) and n.name in wanted]
    cls = ast.ClassDef("Patched", [], [], methods, [])
    scope = {"torch": torch}
    exec(compile(ast.fix_missing_locations(ast.Module([cls], [])), path, "exec"), scope)
    me = scope["Patched"]()
    me.split_input_params = {"clip_min_weight": 0.01, "clip_max_weight": 0.5, "tie_braker": False}

    def call(x, t, context=None):  # a context for each window, [windows n, ...]
        before = torch.get_default_dtype()
        torch.set_default_dtype(dtype)  # of the weights
        try:
            fold, unfold, normalization, weighting = me.get_fold_unfold(x.to(dtype), (size, size), (stride, stride))
            z = unfold(x.to(dtype))
            z = z.view(z.shape[0], -1, size, size, z.shape[-1])
            parts = [None] * z.shape[-1] if context is None else context.chunk(z.shape[-1])
            o = torch.stack([net(z[..., i], t, context=parts[i]) for i in range(z.shape[-1])], axis=-1) * weighting
            return fold(o.view(o.shape[0], -1, o.shape[-1])) / normalization
        finally:
            torch.set_default_dtype(before)

    return call


def autoencoder(kind, c, state, dtype):
    m = importlib.import_module("ldm.modules.diffusionmodules.model")
    args = dict(ch=c["ch"], out_ch=3, ch_mult=c["ch_mult"], num_res_blocks=c["num_res_blocks"],
                attn_resolutions=c.get("attn_resolutions", []), in_channels=3, resolution=256, z_channels=c["z_channels"],
                double_z=kind == "kl", attn_type="none" if c.get("attn_none") else "vanilla")
    moments = 2 if kind == "kl" else 1
    whole = torch.nn.Module()
    whole.encoder, whole.decoder = m.Encoder(**args), m.Decoder(**args)
    whole.quant_conv = torch.nn.Conv2d(moments * c["z_channels"], moments * c["embed_dim"], 1)
    whole.post_quant_conv = torch.nn.Conv2d(c["embed_dim"], c["z_channels"], 1)
    book = state.get("quantize.embedding.weight")
    whole.load_state_dict({k: v.float() for k, v in state.items() if not k.startswith("quantize.")})
    whole = whole.to(dtype).eval()

    def decode(z):
        z = z.to(dtype)
        if book is not None:  # taming VectorQuantizer2: the nearest codeword of every pixel
            b, ch, h, w = z.shape
            flat = z.permute(0, 2, 3, 1).reshape(-1, ch)
            index = torch.cdist(flat, book.to(dtype)).argmin(1)
            z = book.to(dtype)[index].reshape(b, h, w, ch).permute(0, 3, 1, 2)
        return whole.decoder(whole.post_quant_conv(z))

    return (lambda x: whole.quant_conv(whole.encoder(x.to(dtype)))), decode
