"""nets_text.py -- the text encoders and the rescaler of semantic maps as their witnesses compute them: the authors' classes
(CompVis/latent-diffusion), transformers, diffusers, and torch.nn.MultiheadAttention for OpenCLIP's layers. Names are the
authors' without "cond_stage_model.".

Every encoder is called as context = net(ids, skip): 1 ends after the last layer, 2 after the one before.
"""
import importlib
import re
import sys
import types

import torch
from transformers import CLIPTextConfig, CLIPTextModel

CLIP = "transformer.text_model."


def defaults(config):
    """What ldm_text_config_parse fills in."""
    c = dict(config)
    bert = c["kind"] == "bert"
    c.setdefault("head_width", 64)
    c.setdefault("heads", 8 if bert else c["width"] // c["head_width"])
    c.setdefault("hidden", 4 * c["width"])
    c.setdefault("quick_gelu", int(c["kind"] == "clip"))
    return c


def filled(module, state, dtype):
    module.load_state_dict({k: v.to(dtype) for k, v in state.items()})
    return module.to(dtype).eval()


# ---- BERT: the authors' TransformerWrapper, diffusers' LDMBertModel ---------------------------------------------------

def authors_bert(c):
    m = importlib.import_module("ldm.modules.x_transformer")
    net = m.TransformerWrapper(num_tokens=c["vocab"], max_seq_len=c["length"],
                               attn_layers=m.Encoder(dim=c["width"], depth=c["layers"], heads=c["heads"]))
    del net.to_logits  # in the files, unused: the context is what goes into it
    net.to_logits = torch.nn.Identity()
    return net


def bert_shapes(c):
    return {"transformer." + k: list(v.shape) for k, v in authors_bert(c).state_dict().items()}


def bert(c, state, dtype):
    net = filled(authors_bert(c), {k.removeprefix("transformer."): v for k, v in state.items()}, dtype)

    def call(ids, skip):
        layers = net.attn_layers.layers
        net.attn_layers.layers = layers[: 2 * (c["layers"] + 1 - skip)]
        try:
            return net(ids, return_embeddings=True)
        finally:
            net.attn_layers.layers = layers

    return call


def diffusers_bert(c, state, dtype):
    m = importlib.import_module("diffusers.pipelines.latent_diffusion.pipeline_latent_diffusion")
    config = m.LDMBertConfig(vocab_size=c["vocab"], max_position_embeddings=c["length"], encoder_layers=c["layers"],
                             encoder_ffn_dim=c["hidden"], encoder_attention_heads=c["heads"], head_dim=c["head_width"],
                             d_model=c["width"])
    net = m.LDMBertModel(config)
    new = {}
    for key in net.state_dict():
        name = key.removeprefix("model.")
        at = re.match(r"layers\.(\d+)\.(.*)", name)
        if at:
            even = {"self_attn_layer_norm": "0", "self_attn.q_proj": "1.to_q", "self_attn.k_proj": "1.to_k",
                    "self_attn.v_proj": "1.to_v", "self_attn.out_proj": "1.to_out"}
            odd = {"final_layer_norm": "0", "fc1": "1.net.0.0", "fc2": "1.net.2"}
            stem, leaf = at[2].rsplit(".", 1)
            layer = 2 * int(at[1]) + (stem in odd)
            new[key] = f"attn_layers.layers.{layer}.{ {**even, **odd}[stem]}.{leaf}"
        elif not name.startswith("to_logits"):
            new[key] = {"embed_tokens.weight": "token_emb.weight", "embed_positions.weight": "pos_emb.emb.weight",
                        "layer_norm.weight": "norm.weight", "layer_norm.bias": "norm.bias"}[name]
    for p in net.to_logits.parameters():
        torch.nn.init.zeros_(p)
    net.load_state_dict({k: state["transformer." + v].to(dtype) for k, v in new.items()}, strict=False)
    return net.to(dtype).eval(), new


# ---- CLIP: transformers -----------------------------------------------------------------------------------------------

def transformers_clip(c):
    return CLIPTextModel(CLIPTextConfig(
        vocab_size=c["vocab"], hidden_size=c["width"], intermediate_size=c["hidden"], num_hidden_layers=c["layers"],
        num_attention_heads=c["heads"], max_position_embeddings=c["length"],
        hidden_act="quick_gelu" if c["quick_gelu"] else "gelu", attn_implementation="sdpa",  # "eager" has an f32 softmax, whatever the type
        bos_token_id=0, eos_token_id=c["vocab"] - 1, pad_token_id=0))


def clip_keys(net):
    """transformers writes "text_model." in front of its names until version 5, and from there on nothing."""
    return {k: CLIP + k.removeprefix("text_model.") for k in net.state_dict() if not k.endswith("position_ids")}


def clip_shapes(c):
    net = transformers_clip(c)
    return {name: list(net.state_dict()[k].shape) for k, name in clip_keys(net).items()}


def clip(c, state, dtype):
    net = transformers_clip(c)
    filled(net, {k: state[name] for k, name in clip_keys(net).items()}, dtype)
    inner = getattr(net, "text_model", net)

    def call(ids, skip):
        out = net(ids, output_hidden_states=True)
        y = inner.final_layer_norm(out.hidden_states[-skip])
        if skip == 1:
            assert (y - out.last_hidden_state).abs().max() < 1e-5
        return y

    return call


# ---- OpenCLIP: its layers from torch's own, checked against transformers ----------------------------------------------

class OpenClipBlock(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.ln_1, self.ln_2 = torch.nn.LayerNorm(c["width"]), torch.nn.LayerNorm(c["width"])
        self.attn = torch.nn.MultiheadAttention(c["width"], c["heads"], batch_first=True)
        self.mlp = torch.nn.ModuleDict(
            {"c_fc": torch.nn.Linear(c["width"], c["hidden"]), "c_proj": torch.nn.Linear(c["hidden"], c["width"])})

    def forward(self, x, mask):
        h = self.ln_1(x)
        x = x + self.attn(h, h, h, attn_mask=mask, need_weights=True)[0]  # with weights: the plain path, no fused kernel
        return x + self.mlp["c_proj"](torch.nn.functional.gelu(self.mlp["c_fc"](self.ln_2(x))))


class OpenClip(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        self.token_embedding = torch.nn.Embedding(c["vocab"], c["width"])
        self.positional_embedding = torch.nn.Parameter(torch.zeros(c["length"], c["width"]))
        self.transformer = torch.nn.ModuleDict(
            {"resblocks": torch.nn.ModuleList(OpenClipBlock(c) for _ in range(c["layers"]))})
        self.ln_final = torch.nn.LayerNorm(c["width"])

    def forward(self, ids, skip):
        x = self.token_embedding(ids) + self.positional_embedding
        mask = torch.full((ids.shape[1],) * 2, float("-inf"), dtype=x.dtype).triu(1)
        blocks = self.transformer["resblocks"]
        for block in blocks[: len(blocks) + 1 - skip]:
            x = block(x, mask)
        return self.ln_final(x)


def openclip_shapes(c):
    return {"model." + k: list(v.shape) for k, v in OpenClip(c).state_dict().items()}


def openclip(c, state, dtype):
    return filled(OpenClip(c), {k.removeprefix("model."): v for k, v in state.items()}, dtype)


def openclip_as_clip(state):
    """OpenCLIP's tensors under transformers' names, q, k and v apart."""
    out = {}
    for k, v in state.items():
        k = k.removeprefix("model.")
        k = k.replace("token_embedding.weight", "embeddings.token_embedding.weight")
        k = k.replace("positional_embedding", "embeddings.position_embedding.weight").replace("ln_final", "final_layer_norm")
        k = k.replace("transformer.resblocks", "encoder.layers").replace("ln_1", "layer_norm1").replace("ln_2", "layer_norm2")
        k = k.replace("mlp.c_fc", "mlp.fc1").replace("mlp.c_proj", "mlp.fc2").replace("attn.out_proj", "self_attn.out_proj")
        m = re.match(r"(.*)\.attn\.in_proj_(weight|bias)$", k)
        if m:
            for name, part in zip("qkv", v.chunk(3)):
                out[f"{CLIP}{m[1]}.self_attn.{name}_proj.{m[2]}"] = part
        else:
            out[CLIP + k] = v
    return out


# ---- semantic maps ----------------------------------------------------------------------------------------------------

def rescaler(stages, labels, channels, state, dtype):
    for name in ("clip", "kornia"):  # imported beside it
        sys.modules.setdefault(name, types.ModuleType(name))
    m = importlib.import_module("ldm.modules.encoders.modules")
    net = m.SpatialRescaler(n_stages=stages, method="bilinear", multiplier=0.5, in_channels=labels, out_channels=channels)
    return filled(net, {k.removeprefix("cond_stage_model."): v for k, v in state.items()}, dtype)


SHAPES = {"bert": bert_shapes, "clip": clip_shapes, "openclip": openclip_shapes}
NETS = {"bert": bert, "clip": clip, "openclip": openclip}
