"""nets_diffusers.py -- the fixtures' networks as diffusers models, and the names its tensors have in the authors' files.

What diffusers has no counterpart for (resblock_updown, scale-shift norm in this arrangement) is refused by build_unet.
"""
import re

import diffusers
import torch
from diffusers import AutoencoderKL, AutoencoderTiny, UNet2DConditionModel, UNet2DModel, VQModel

from witness import timestep_embedding


diffusers.utils.logging.set_verbosity_error()


class TimeProjection(torch.nn.Module):
    """Takes the place of a model's time_proj: exact embeddings, so that what f32 makes of frequencies times t (6e-5 near
    t = 1000) widens no tolerance."""

    def __init__(self, dim):
        super().__init__()
        self.dim = dim

    def forward(self, t):
        return timestep_embedding(t, self.dim)


def build_unet(c):
    if c.get("resblock_updown") or c.get("use_scale_shift_norm"):
        return None
    levels = len(c["channel_mult"])
    attn = [2**i in c["attention_resolutions"] for i in range(levels)]
    common = dict(
        in_channels=c["in_channels"],
        out_channels=c["out_channels"],
        block_out_channels=[m * c["model_channels"] for m in c["channel_mult"]],
        layers_per_block=c["num_res_blocks"],
        norm_eps=1e-5,
        flip_sin_to_cos=True,
        freq_shift=0,
    )
    if c.get("use_spatial_transformer"):
        disabled = c.get("disable_self_attentions", [])
        heads = c.get("num_heads") or [m * c["model_channels"] // c["num_head_channels"] for m in c["channel_mult"]]
        return UNet2DConditionModel(
            down_block_types=["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attn],
            up_block_types=["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attn)],
            cross_attention_dim=c["context_dim"],
            attention_head_dim=heads,  # the number of heads, whatever it is called
            use_linear_projection=bool(c.get("use_linear_in_transformer")),
            only_cross_attention=[bool(i < len(disabled) and disabled[i]) for i in range(levels)],
            num_class_embeds=c.get("num_classes"),
            time_cond_proj_dim=c.get("time_cond_proj_dim"),
            transformer_layers_per_block=c["transformer_depth"],
            **common,
        )
    if "num_head_channels" not in c:  # diffusers' unconditional UNet knows head widths only, the same at every level
        return None
    return UNet2DModel(
        down_block_types=["AttnDownBlock2D" if a else "DownBlock2D" for a in attn],
        up_block_types=["AttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attn)],
        attention_head_dim=c["num_head_channels"],
        **common,
    )


def build_autoencoder(kind, c):
    attn = [256 // 2**i in c.get("attn_resolutions", []) for i in range(len(c["ch_mult"]))]
    common = dict(
        in_channels=3,
        out_channels=3,
        down_block_types=["AttnDownEncoderBlock2D" if a else "DownEncoderBlock2D" for a in attn],
        up_block_types=["AttnUpDecoderBlock2D" if a else "UpDecoderBlock2D" for a in reversed(attn)],
        block_out_channels=[m * c["ch"] for m in c["ch_mult"]],
        layers_per_block=c["num_res_blocks"],
        latent_channels=c["z_channels"],
        norm_num_groups=32,
        mid_block_add_attention=not c.get("attn_none"),
    )
    if kind == "kl":
        return AutoencoderKL(**common)
    return VQModel(num_vq_embeddings=c["n_embed"], vq_embed_dim=c["embed_dim"], **common)


RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
          "conv2": "out_layers.3", "conv_shortcut": "skip_connection"}
ATTENTION = {"group_norm": "norm", "to_out.0": "proj_out"}


def replace_first(rest, table):
    for a, b in table.items():
        if rest == a or rest.startswith(a + "."):
            return b + rest[len(a):]
    return rest


def unet_name(key, n, attention_levels):
    """A diffusers UNet tensor's name in the authors' UNetModel; n = layers_per_block."""
    key = replace_first(key, {"time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
                              "time_embedding.cond_proj": "time_embed.cond_proj", "class_embedding": "label_emb",
                              "conv_in": "input_blocks.0.0", "conv_norm_out": "out.0", "conv_out": "out.2"})
    m = re.match(r"(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)\.(.*)", key)
    if m:
        way, b, part, l, rest = m[1], int(m[2]), m[3], int(m[4]), m[5]
        stem = "input_blocks" if way == "down" else "output_blocks"
        i = b * (n + 1) + l + (1 if way == "down" else 0)
        if part == "downsamplers":
            return f"input_blocks.{(b + 1) * (n + 1)}.0.op.{rest.split('.', 1)[1]}"
        if part == "upsamplers":
            return f"output_blocks.{b * (n + 1) + n}.{2 if attention_levels[-1 - b] else 1}.{rest}"
        if part == "resnets":
            return f"{stem}.{i}.0.{replace_first(rest, RESNET)}"
        return f"{stem}.{i}.1.{replace_first(rest, ATTENTION)}"
    m = re.match(r"mid_block\.(resnets|attentions)\.(\d)\.(.*)", key)
    if m and m[1] == "resnets":
        return f"middle_block.{2 * int(m[2])}.{replace_first(m[3], RESNET)}"
    if m:
        return f"middle_block.1.{replace_first(m[3], ATTENTION)}"
    return key


def autoencoder_name(key, levels):
    key = key.replace("mid_block.resnets.0", "mid.block_1").replace("mid_block.resnets.1", "mid.block_2")
    key = key.replace("mid_block.attentions.0", "mid.attn_1").replace("conv_norm_out", "norm_out")
    key = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", key)
    key = re.sub(r"down_blocks\.(\d+)\.attentions", r"down.\1.attn", key)
    key = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample", key)
    key = re.sub(r"up_blocks\.(\d+)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", key)
    key = re.sub(r"up_blocks\.(\d+)\.attentions", lambda m: f"up.{levels - 1 - int(m[1])}.attn", key)
    key = re.sub(r"up_blocks\.(\d+)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", key)
    key = key.replace("conv_shortcut", "nin_shortcut").replace("group_norm", "norm").replace("to_out.0", "proj_out")
    return re.sub(r"\.to_([qkv])\.", r".\1.", key)


def unet_map(model, c):
    """diffusers name -> (the authors' name, how to read it). q, k and v of an AttentionBlock lie in one tensor, per head."""
    n = c["num_res_blocks"]
    attn = [2**i in c["attention_resolutions"] for i in range(len(c["channel_mult"]))]
    out = {}
    for key, value in model.state_dict().items():
        name = unet_name(key, n, attn)
        m = re.match(r"(.*)\.to_([qkv])\.(weight|bias)$", name)
        if m and "transformer_blocks" not in name:
            out[key] = (f"{m[1]}.qkv.{m[3]}", "qkv".index(m[2]))
        else:
            out[key] = (name, None)
    return out


def load(model, names, state, heads_of=None, assign=False):
    """Fills a diffusers model from the authors' tensors. heads_of(channels): heads of a packed qkv. assign: the tensors
    themselves become the model's, which may then have been made on the meta device."""
    new = {}
    for key, value in model.state_dict().items():
        name, third = names[key]
        w = state[name].to(value.dtype)
        if third is not None:
            heads = heads_of(w.shape[0] // 3)
            w = w.reshape(heads, 3, -1, *w.shape[1:])[:, third].reshape(w.shape[0] // 3, *w.shape[1:])
        new[key] = w.reshape(value.shape)
    model.load_state_dict(new, assign=assign)
    return model.eval()


def compvis_shapes(model, names):
    """The authors' names with their shapes: packed qkv, attention as 1x1 convolutions."""
    out = {}
    for key, value in model.state_dict().items():
        name, third = names[key]
        shape = list(value.shape)
        if third is not None:
            shape[0] *= 3
        if len(shape) == 2 and re.search(r"\.attn(_1|\.\d+)\.(q|k|v|proj_out)\.weight$", name):
            shape += [1, 1]
        elif len(shape) == 2 and re.search(r"\.1\.(qkv|proj_out)\.weight$", name):
            shape += [1]
        out[name] = shape
    return out


def unet(c, state, dtype):
    model = build_unet(c).to(dtype)
    load(model, unet_map(model, c), state, lambda channels: channels // c["num_head_channels"])
    model.time_proj = TimeProjection(c["model_channels"])

    def call(x, t, context=None, labels=None, guidance=None):
        more = {"encoder_hidden_states": context.to(dtype)} if context is not None else {}
        if labels is not None:
            more["class_labels"] = labels
        if guidance is not None:
            more["timestep_cond"] = guidance.to(dtype)
        return model(x.to(dtype), t, **more).sample

    return call


def autoencoder(kind, c, state, dtype):
    """(encode, decode): to what quant_conv gives; from the first stage's own units, snapped to the codebook if it has one."""
    model = build_autoencoder(kind, c).to(dtype)
    names = {k: (autoencoder_name(k, len(c["ch_mult"])), None) for k in model.state_dict()}
    load(model, names, state)
    return (lambda x: model.quant_conv(model.encoder(x.to(dtype)))), (lambda z: model.decode(z.to(dtype)).sample)


def autoencoder_shapes(kind, c):
    model = build_autoencoder(kind, c)
    names = {k: (autoencoder_name(k, len(c["ch_mult"])), None) for k in model.state_dict()}
    return compvis_shapes(model, names)


def unet_shapes(c):
    model = build_unet(c)
    return compvis_shapes(model, unet_map(model, c))


def tiny(state_encoder, state_decoder, dtype):
    """TAESD of four channels as diffusers' AutoencoderTiny, pixels in [-1, 1] there."""
    model = AutoencoderTiny().to(dtype)
    new = {}
    for key in model.state_dict():
        side, rest = key.split(".layers.", 1)
        if side == "decoder":  # diffusers' list lacks the clamp at the front
            i, tail = rest.split(".", 1)
            rest = f"{int(i) + 1}.{tail}"
        new[key] = (state_encoder if side == "encoder" else state_decoder)[rest].to(dtype)
    model.load_state_dict(new)
    return model.eval()
