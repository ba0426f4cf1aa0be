"""oracle.py -- makes tests/fixtures: small networks of every block type with their outputs, computed by PyTorch through
diffusers and through the authors' own classes (--clone), both wherever both can, and then compared in f64.

    make oracle [CLONE=path of a CompVis/latent-diffusion checkout]

Without a checkout the fixtures that only the authors' code can make are left as they are.
"""
import argparse
import os

import diffusers
import torch
import transformers

import nets_authors as authors
import nets_diffusers as hf
import nets_text
import sampling
import tiny
from witness import Fixture, errors, errors_by_step, make_weights, nudged, parse, photo

CALM = []  # several transformers in a row: scores of order one, or f16 could not say what is right

UNETS = {
    # cross-attention with several tokens and heads, attention at one of two levels, learned resampling
    "unet_cross": dict(
        config="in_channels=4 out_channels=4 model_channels=32 channel_mult=1,2 num_res_blocks=1 "
        "attention_resolutions=2 num_heads=4 use_spatial_transformer=1 transformer_depth=1 context_dim=24",
        size=(10, 6), tokens=5, times=(37, 981), windows=dict(size=4, stride=2), large=(6, 8)),
    # plain attention, packed per head (legacy order), heads of 16 channels, attention at both levels
    "unet_legacy": dict(
        config="in_channels=3 out_channels=3 model_channels=32 channel_mult=1,2 num_res_blocks=1 "
        "attention_resolutions=1,2 num_head_channels=16",
        size=(8, 6), times=(1, 500)),
    # the blocks of lsun_churches: scale-shift norm, residual blocks that resample, a number of heads
    "unet_updown": dict(
        config="in_channels=4 out_channels=4 model_channels=32 channel_mult=1,2 num_res_blocks=1 "
        "attention_resolutions=1,2 num_heads=4 use_scale_shift_norm=1 resblock_updown=1",
        size=(6, 10), times=(3, 777)),
    # concatenated condition (in != out channels), attention in the middle block only
    "unet_concat": dict(
        config="in_channels=7 out_channels=3 model_channels=32 channel_mult=1,1 num_res_blocks=1 "
        "attention_resolutions=8 num_heads=8",
        size=(12, 8), times=(0, 999), windows=dict(size=8, stride=4), large=(16, 12)),
    # class embedding as one token, two transformer blocks in a row, one head, two residual blocks a level
    "unet_class": dict(
        config="in_channels=3 out_channels=3 model_channels=32 channel_mult=1,1 num_res_blocks=2 "
        "attention_resolutions=2 num_heads=1 use_spatial_transformer=1 transformer_depth=2 context_dim=40",
        size=(4, 8), tokens=1, times=(250, 981), classes=10),
    # the x4 upscaler's: no self-attention at the finer of two levels, noise level as a label, linear projections
    "unet_upscaler": dict(
        config="in_channels=7 out_channels=4 model_channels=32 channel_mult=1,1,2 num_res_blocks=1 "
        "attention_resolutions=2,4 num_heads=2 use_spatial_transformer=1 use_linear_in_transformer=1 transformer_depth=1 "
        "context_dim=24 num_classes=20 disable_self_attentions=1,1,0",
        size=(8, 12), tokens=5, times=(37, 981), labels=(19, 3), gains=CALM),
    # SD 2's heads of one width, and the guidance scale's embedding of LCM
    "unet_lcm": dict(
        config="in_channels=4 out_channels=4 model_channels=32 channel_mult=1,2 num_res_blocks=1 "
        "attention_resolutions=1,2 num_head_channels=16 use_spatial_transformer=1 use_linear_in_transformer=1 "
        "transformer_depth=1 context_dim=24 time_cond_proj_dim=12",
        size=(6, 8), tokens=7, times=(259, 999), guidance=True, gains=CALM),
}

TEXTS = {
    # the authors' BERT: inner width 512 whatever the width, no mask, exact GELU
    "text_bert": "kind=bert width=48 layers=2 length=9 vocab=50",
    # CLIP's text tower, causal; clip-skip
    "text_clip": "kind=clip width=64 layers=3 heads=4 head_width=16 length=11 vocab=60",
    # the same with the exact GELU
    "text_clip_gelu": "kind=clip width=32 layers=2 heads=2 head_width=16 length=7 vocab=40 quick_gelu=0",
    # OpenCLIP's names, q, k and v as one matrix
    "text_openclip": "kind=openclip width=48 layers=3 heads=3 head_width=16 length=10 vocab=60",
}
TEXT_GAINS = [("to_q", 2.0), ("to_k", 2.0), ("q_proj", 2.0), ("k_proj", 2.0), ("in_proj", 1.6), ("to_out", 0.7),
              ("out_proj", 0.7), ("net.2", 0.7), ("fc2", 0.7), ("c_proj", 0.7)]

AUTOENCODERS = {
    # kl-f8: three reductions, attention in the middle only
    "kl": dict(
        size=(80, 48), row=60, col=180, shrink=2,
        config="kind=kl z_channels=4 embed_dim=4 ch=32 ch_mult=1,1,1,2 num_res_blocks=1"),
    # vq-f8: attention at the last level too (32 of a nominal 256), a codebook
    "vq": dict(
        size=(48, 64), row=0, col=150, shrink=3,
        config="kind=vq z_channels=4 embed_dim=4 n_embed=256 ch=32 ch_mult=1,1,1,1 num_res_blocks=1 attn_resolutions=32"),
    # vq-f4-noattn: no attention anywhere, two residual blocks a level
    "vq_noattn": dict(
        size=(28, 36), row=100, col=200, shrink=4,
        config="kind=vq z_channels=3 embed_dim=3 n_embed=64 ch=32 ch_mult=1,1,1 num_res_blocks=2 attn_none=1"),
}

GAINS = [("to_q", 2.0), ("to_k", 2.0), ("qkv", 1.6), (".q.", 2.0), (".k.", 2.0), ("decoder.conv_out", 0.4)]


class Oracle:
    def __init__(self, out, clone, photograph, taef2):
        self.out, self.photograph, self.taef2 = out, photograph, taef2
        self.commit, self.clone = authors.bring(clone) if clone else None, clone
        self.unets, self.autoencoders = {}, {}

    def made_by(self, by, agreement):
        out = {"torch": torch.__version__, "diffusers": diffusers.__version__, "outputs_from": by}
        if self.commit:
            out["authors_code"] = f"CompVis/latent-diffusion {self.commit}"
        if agreement is not None:
            out["authors_and_diffusers_differ_by_f64"] = agreement
        return out

    def unet(self, name, spec):
        c = parse(spec["config"])
        by_diffusers = hf.build_unet(c) is not None
        if not by_diffusers and not self.commit:
            print(f"{name:16} kept as it is: only the authors' code has these blocks (CLONE=...)")
            return
        by_authors = bool(self.commit) and authors.build_unet(c) is not None
        shapes = authors.unet_shapes(c) if by_authors else hf.unet_shapes(c)
        if by_authors and by_diffusers:
            assert shapes == hf.unet_shapes(c), f"{name}: shapes differ"
        seed = 100 + list(UNETS).index(name)
        state = make_weights(shapes, seed, spec.get("gains", GAINS))
        g = torch.Generator().manual_seed(seed)
        x = torch.randn(2, c["in_channels"], *spec["size"], generator=g).double()
        t = torch.tensor(spec["times"])
        inputs, more, book = {"x": x, "t": t.float()}, {}, None
        if "classes" in spec:
            book = torch.randn(spec["classes"], 1, c["context_dim"], generator=g).half()
            ids = torch.tensor([7, 2])
            inputs["class_ids"] = ids.float()
            more["context"] = inputs["context"] = book[ids].double()
        elif "tokens" in spec:
            more["context"] = inputs["context"] = torch.randn(2, spec["tokens"], c["context_dim"], generator=g).double()
        if "labels" in spec:
            more["labels"] = torch.tensor(spec["labels"])
            inputs["labels"] = more["labels"].float()
        if "guidance" in spec:
            more["guidance"] = inputs["guidance"] = torch.randn(2, c["time_cond_proj_dim"], generator=g).double()
        outs = {}
        for who, make in (("diffusers", hf.unet if by_diffusers else None), ("authors", authors.unet if by_authors else None)):
            if make:
                net32 = make(c, state, torch.float32)
                outs[who] = [net32(v, t, **more) for v in nudged(x, seed)], make(c, state, torch.float64)(x, t, **more)
        plain, y64 = next(iter(outs.values()))
        agreement = None
        if len(outs) == 2:
            agreement = (outs["diffusers"][1] - outs["authors"][1]).abs().max().item()
            assert agreement < 1e-9 * max(1, y64.abs().max().item()), f"{name}: the two witnesses differ by {agreement}"
        f = Fixture(self.out, name, "unet", spec["config"], self.made_by(list(outs), agreement))
        file = {"model.diffusion_model." + k: v for k, v in state.items()}
        if book is not None:
            file["cond_stage_model.embedding.weight"] = book[:, 0]
        f.weights(file)
        moves = {}
        if len(more) > 1:  # what the later families add must count: each is left out or moved by one
            tolerance = 2 * errors(plain, y64)["f32_max_error"] + 2.0**-22 * y64.abs().max().item()
            net64 = hf.unet(c, state, torch.float64)
            other = {"labels": lambda v: (v + 1) % c["num_classes"], "guidance": lambda v: v * 1.01}
            for what in other.keys() & more.keys():
                moved = net64(x, t, **{**more, what: other[what](more[what])})
                moves[what] = round((moved - y64).abs().max().item() / tolerance, 1)
            assert min(moves.values()) >= 20, (name, moves)
        f.run("unet", inputs, plain, y64, **({"moves_in_tolerances": moves} if moves else {}))
        if "windows" in spec: # a larger map, window by window
            w = spec["windows"]
            x = torch.randn(2, c["in_channels"], *spec["large"], generator=g).double()
            net = {d: authors.windowed(authors.unet(c, state, d), self.clone, w["size"], w["stride"], d) for d in (torch.float32, torch.float64)}
            inputs, own = {"x": x, "t": t.float()}, None
            if "tokens" in spec: # each window has a context of its own
                count = ((spec["large"][0] - w["size"]) // w["stride"] + 1) * ((spec["large"][1] - w["size"]) // w["stride"] + 1)
                inputs["context"] = own = torch.randn(2 * count, spec["tokens"], c["context_dim"], generator=g).double()
                w = {**w, "own_contexts": True}
            y64, plain = net[torch.float64](x, t, own), [net[torch.float32](v, t, own) for v in nudged(x, seed)]
            if own is None:
                other, what = authors.unet(c, state, torch.float64)(x, t), "no windows"
            else:
                other, what = net[torch.float64](x, t, own.roll(2, 0)), "another window's context"
            tolerance = 2 * errors(plain, y64)["f32_max_error"] + 2.0**-22 * y64.abs().max().item()
            moved = round((other - y64).abs().max().item() / tolerance, 1)
            assert moved >= 20, (name, moved)
            f.run("unet", inputs, plain, y64, windows=w, moves_in_tolerances={what: moved})
        f.save()
        self.unets[name] = (hf.unet if by_diffusers else authors.unet, c, state)

    def text(self, name, config):
        """Every clip-skip, held to what one wrong thing does: the last token or one in the middle, clip-skip, activation."""
        c = nets_text.defaults(parse(config))
        kind = c["kind"]
        if kind == "bert" and not self.commit:
            print(f"{name:16} kept as it is: the authors' code is the witness (CLONE=...)")
            return
        seed = 500 + list(TEXTS).index(name)
        state = make_weights(nets_text.SHAPES[kind](c), seed, TEXT_GAINS)
        g = torch.Generator().manual_seed(seed)
        ids = torch.randint(0, c["vocab"], (4, c["length"]), generator=g)
        net64 = nets_text.NETS[kind](c, state, torch.float64)
        table = next(k for k in state if k.endswith(("token_emb.weight", "token_embedding.weight")))
        plain = [nets_text.NETS[kind](c, {**state, table: w}, torch.float32) for w in nudged(state[table], seed)]
        by, agreement = {"bert": ["authors", "diffusers"], "clip": ["transformers"],
                         "openclip": ["torch.nn.MultiheadAttention", "transformers"]}[kind], None
        y64 = net64(ids, 1)
        if kind == "bert":
            other, _ = nets_text.diffusers_bert(c, state, torch.float64)
            agreement = (other.model(ids)[0] - y64).abs().max().item()
        if kind == "openclip":
            other = nets_text.clip(c, nets_text.openclip_as_clip(state), torch.float64)
            agreement = max((other(ids, s) - net64(ids, s)).abs().max().item() for s in (1, 2))
        assert agreement is None or agreement < 1e-9, f"{name}: the two witnesses differ by {agreement}"
        made_by = {"torch": torch.__version__, "transformers": transformers.__version__,
                   "diffusers": diffusers.__version__, "outputs_from": by}
        if kind == "bert":
            made_by["authors_code"] = f"CompVis/latent-diffusion {self.commit}"
        if agreement is not None:
            made_by["witnesses_differ_by_f64"] = agreement
        f = Fixture(self.out, name, "text", config, made_by)
        extra = {"transformer.to_logits.bias": torch.zeros(c["vocab"])} if kind == "bert" else {}
        if kind == "clip":
            extra = {nets_text.CLIP + "embeddings.position_ids": torch.arange(c["length"])[None]}
        if kind == "openclip":
            extra = {"model.logit_scale": torch.tensor(4.6), "model.text_projection": torch.zeros(c["width"], c["width"])}
        f.weights({"cond_stage_model." + k: v for k, v in {**state, **extra}.items()})
        for skip in (1, 2):
            y64 = net64(ids, skip)
            run = dict(skip=skip)
            p = [n(ids, skip) for n in plain]
            tolerance = 2 * errors(p, y64)["f32_max_error"] + 2.0**-22 * y64.abs().max().item()
            changed = {"clip-skip": net64(ids, 3 - skip)}
            for what, at in (("last token", -1), ("middle token", c["length"] // 2)):
                other = ids.clone()
                other[:, at] = (other[:, at] + 1) % c["vocab"]
                changed[what] = net64(other, skip)
            if kind != "bert":
                first = changed["last token"][:, :-1]
                assert (first - y64[:, :-1]).abs().max() < 1e-12, f"{name}: the mask is not causal"
            if kind == "clip":
                swapped = {**c, "quick_gelu": 1 - c["quick_gelu"]}
                changed["activation"] = nets_text.clip(swapped, state, torch.float64)(ids, skip)
            run["moves_in_tolerances"] = {k: round((v - y64).abs().max().item() / tolerance, 1) for k, v in changed.items()}
            assert min(run["moves_in_tolerances"].values()) >= 20, (name, run)
            f.run("text", {"ids": ids.float()}, p, y64, **run)
        f.save()

    def rescaler(self):
        """Semantic maps, n_stages 2 and 182 labels as in the authors' configurations."""
        if not self.commit:
            print(f"{'rescaler':16} kept as it is: only the authors' code has it (CLONE=...)")
            return
        state = make_weights({"cond_stage_model.channel_mapper.weight": [3, 182, 1, 1]}, 600)
        labels = torch.randint(0, 182, (2, 16, 24), generator=torch.Generator().manual_seed(600))
        labels[1, :8] = 181
        x = torch.nn.functional.one_hot(labels, 182).permute(0, 3, 1, 2)
        net32, net64 = (nets_text.rescaler(2, 182, 3, state, t) for t in (torch.float32, torch.float64))
        f = Fixture(self.out, "rescaler", "rescaler", "stages=2 labels=182 channels=3", self.made_by(["authors"], None))
        f.weights(state)
        f.run("rescaler", {"labels": labels.float()}, [net32(v) for v in nudged(x.double(), 600)], net64(x.double()))
        f.save()

    def autoencoder(self, name, spec):
        c = parse(spec["config"])
        kind = c["kind"]
        seed = 200 + list(AUTOENCODERS).index(name)
        state = make_weights(hf.autoencoder_shapes(kind, c), seed, GAINS)
        x = photo(self.photograph, *spec["size"], spec["row"], spec["col"], spec["shrink"])
        both = [hf.autoencoder(kind, c, state, d) for d in (torch.float32, torch.float64)]
        (enc32, dec32), (enc64, dec64) = both
        latent = enc64(x)
        z = latent[:, : c["z_channels"]].float().double()
        more = {}
        if kind == "vq":  # no pixel may lie between two codewords
            book = state["quantize.embedding.weight"].double()
            d = torch.cdist(z.permute(0, 2, 3, 1).reshape(-1, z.shape[1]), book) ** 2
            near = d.topk(2, largest=False).values
            more["smallest_codebook_margin"] = (near[:, 1] - near[:, 0]).min().item()
            assert more["smallest_codebook_margin"] > 2e-4, (name, more)
        agreement = None
        if self.commit:
            enc, dec = authors.autoencoder(kind, c, state, torch.float64)
            agreement = max((enc(x) - latent).abs().max().item(), (dec(z) - dec64(z)).abs().max().item())
            assert agreement < 1e-9, f"{name}: the two witnesses differ by {agreement}"
        by = ["diffusers"] + (["authors"] if self.commit else [])
        f = Fixture(self.out, name, "stage", spec["config"], self.made_by(by, agreement))
        f.weights(state)
        f.run("encoder", {"x": x}, [enc32(v) for v in nudged(x, seed)], latent)
        f.run("decoder", {"z": z}, [dec32(v) for v in nudged(z, seed)], dec64(z), **more)
        f.save()
        self.autoencoders[name] = (both, z)

    def tiny(self):
        """No weights are stored: TAEF2's are in the repository, and the four-channel pair is cut out of them."""
        load = lambda part: torch.load(os.path.join(self.taef2, f"taef2_{part}.pth"), weights_only=True)
        e, d = load("encoder"), load("decoder")
        x = (photo(self.photograph, 40, 48, 40, 190, 3) + 1) / 2
        for name, (enc, dec) in (("taef2", (e, d)), ("taesd", tiny.four_channels(e, d))):
            as_type = lambda s, t: {k: v.to(t) for k, v in s.items()}
            e32, e64, d32, d64 = as_type(enc, torch.float32), as_type(enc, torch.float64), as_type(dec, torch.float32), as_type(dec, torch.float64)
            latent = tiny.encode(e64, x)
            z = latent.float().double()
            agreement = None
            if name == "taesd":
                model = hf.tiny(enc, dec, torch.float64)
                agreement = max((model.encoder(x * 2 - 1) - latent).abs().max().item(),
                                (model.decoder(z).add(1).div(2).clamp(0, 1) - tiny.decode(d64, z)).abs().max().item())
                assert agreement < 1e-9, f"taesd: diffusers differs by {agreement}"
            made_by = self.made_by(["tiny.py"] + (["diffusers"] if agreement is not None else []), None)
            made_by.pop("authors_code", None)
            if agreement is not None:
                made_by["tiny_and_diffusers_differ_by_f64"] = agreement
            f = Fixture(self.out, name, "stage", f"kind=taesd z_channels={z.shape[1]} pool={int(name == 'taef2')}", made_by)
            f.run("encoder", {"x": x}, [tiny.encode(e32, v) for v in nudged(x, 300)], latent)
            f.run("decoder", {"z": z}, [tiny.decode(d32, v) for v in nudged(z, 301)], tiny.decode(d64, z))
            f.save()

    def trajectories(self):
        """Ten steps from an encoded photograph at t <= 200. What untrained weights make of it is only a test if it depends
        on everything it should, so each trajectory must move by 20 tolerances when one thing about it changes."""
        sampling.check_against_diffusers()
        if self.commit:
            sampling.check_against_authors()
        ((_, _), (_, decode)), z = self.autoencoders["kl"]
        made_by = self.made_by(["sampling.py"], None)
        f = Fixture(self.out, "sample", "trajectories", "", made_by)
        f.info["linear_start"], f.info["linear_end"] = sampling.START, sampling.END
        f.info["z0"] = f.array("z0", z)
        g = torch.Generator().manual_seed(9)
        context, null = (torch.randn(1, 5, 24, generator=g).double() for _ in range(2))
        f.info["context"], f.info["null_context"] = f.array("context", context), f.array("null_context", null)
        for spec in (
            dict(unet="unet_cross", sampler="ddim", steps=50, eta=0.0, guidance=1.0, seeds=[11]),
            dict(unet="unet_cross", sampler="ddim", steps=50, eta=1.0, guidance=1.0, seeds=[21, 22]),
            dict(unet="unet_cross", sampler="ddim", steps=50, eta=0.0, guidance=3.0, seeds=[31]),
            dict(unet="unet_updown", sampler="ddim", steps=50, eta=1.0, guidance=1.0, seeds=[41]),
            dict(unet="unet_updown", sampler="ddpm", steps=1000, eta=1.0, guidance=1.0, seeds=[51, 52]),
            dict(unet="unet_cross", sampler="ddpm", steps=1000, eta=1.0, guidance=1.0, seeds=[61]),
        ):
            if spec["unet"] not in self.unets:
                raise SystemExit("the trajectories need every UNet: give CLONE=...")
            n = len(f.info["runs"])
            x64 = self.trajectory(spec, z, context, null, torch.float64)
            plain = [self.trajectory(spec, v, context, null, torch.float32) for v in nudged(z, 400 + n)]
            forced = [self.trajectory(spec, v[0], context, null, torch.float32, v[1:])
                      for v in zip(*(nudged(x, 400 + n) for x in [z] + x64))]
            picture = decode(x64[-1])
            part = f"sample{n}"
            run = dict(spec, part=part, start_t=181 if spec["sampler"] == "ddim" else 9)
            run["output"] = f.array(part + "_x", torch.stack(x64))
            run["picture"] = f.array(part + "_picture", picture)
            run.update(errors_by_step(plain, x64, ""))
            run.update(errors_by_step(forced, x64, "forced_"))
            run["picture_f32_max_error"] = max((decode(p[-1].double()) - picture).abs().max().item() for p in plain)
            run["saturated"] = (picture.abs() > 1).double().mean().item()
            assert run["saturated"] <= 0.2, (part, run["saturated"])
            tolerance = 2 * run["f32_max_error"][-1] + 2.0**-22 * x64[-1].abs().max().item()
            run["moves_in_tolerances"] = {}
            changes = dict(t=dict(shift=1), noise=dict(seeds=[s + 1000 for s in spec["seeds"]]))
            if spec["sampler"] == "ddim":
                changes["eta"] = dict(eta=1 - spec["eta"])
                changes["steps"] = dict(steps=40)
            if spec["unet"] == "unet_cross":
                changes["token"] = dict(token=1)
            if spec["guidance"] != 1:
                changes["guidance"] = dict(guidance=spec["guidance"] + 0.1)
            for what, change in changes.items():
                other = self.trajectory({**spec, **change}, z, context, null, torch.float64)
                moved = (other[-1] - x64[-1]).abs().max().item() / tolerance
                moved = min(moved, (decode(other[-1]) - picture).abs().max().item() / tolerance)
                run["moves_in_tolerances"][what] = round(moved, 1)
                assert moved >= 20, (part, what, moved)
            f.info["runs"].append(run)
        f.save()

    def trajectory(self, spec, z, context, null, dtype, forced=None):
        make, c, state = self.unets[spec["unet"]]
        unet = make(c, state, dtype)
        generators = [torch.Generator().manual_seed(s) for s in spec["seeds"]]
        draw = lambda: torch.cat([torch.randn(z.shape, generator=g) for g in generators])
        _, a = sampling.tables()
        if spec["sampler"] == "ddim":
            t0 = sampling.ddim(spec["steps"], spec["eta"])[-10][0]
            a0 = float(a.astype("float32")[t0])
        else:
            t0, a0 = 9, a[9]
        x = (a0**0.5 * z + (1 - a0) ** 0.5 * draw().double()).to(dtype)
        noises = [draw() for _ in range(10)] if spec["eta"] or spec["sampler"] == "ddpm" else None
        if spec.get("token"):
            context = context.clone()
            context[:, 2] = -context[:, 2]
        uses_context = "context_dim" in c

        def evaluate(net, x, t):
            n = x.shape[0]
            t = torch.full((n,), t + spec.get("shift", 0))
            if not uses_context:
                return net(x, t)
            eps = net(x, t, context=context.expand(n, -1, -1))
            if spec["guidance"] == 1:
                return eps
            return (lambda e: e + spec["guidance"] * (eps - e))(net(x, t, context=null.expand(n, -1, -1)))

        return sampling.run(unet, dtype, spec["sampler"], x, noises, spec["steps"], spec["eta"], evaluate, forced)


def main():
    here = os.path.dirname(os.path.abspath(__file__))
    root = os.path.dirname(os.path.dirname(here))
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--clone", help="a checkout of CompVis/latent-diffusion")
    p.add_argument("--out", default=os.path.join(root, "tests", "fixtures"))
    p.add_argument("--photo", default=os.path.join(root, "tests", "data", "photos", "astronaut.png"))
    p.add_argument("--taef2", default=os.path.join(root, "tests", "data", "taef2"))
    p.add_argument("--only", help="remake these fixtures only, names of networks separated by commas")
    a = p.parse_args()
    oracle = Oracle(a.out, a.clone, a.photo, a.taef2)
    if a.only:
        for name in a.only.split(","):
            if name == "rescaler":
                oracle.rescaler()
            elif name in TEXTS:
                oracle.text(name, TEXTS[name])
            elif name in UNETS:
                oracle.unet(name, UNETS[name])
            else:
                oracle.autoencoder(name, AUTOENCODERS[name])
        return
    for name, spec in UNETS.items():
        oracle.unet(name, spec)
    for name, config in TEXTS.items():
        oracle.text(name, config)
    oracle.rescaler()
    for name, spec in AUTOENCODERS.items():
        oracle.autoencoder(name, spec)
    oracle.tiny()
    if a.clone:
        oracle.trajectories()
    else:
        print("trajectories kept as they are: they use the authors' blocks (CLONE=...)")


if __name__ == "__main__":
    main()
