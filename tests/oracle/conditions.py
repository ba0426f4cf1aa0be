"""conditions.py -- writes tests/fixtures/condition: layouts, label maps, masks, depth maps and noised pictures as the authors'
code and PyTorch make them of small arrays.

    .venv/bin/python tests/oracle/conditions.py --ldm DIR --sd2 DIR --taming DIR

Checkouts of CompVis/latent-diffusion, Stability-AI/stablediffusion and CompVis/taming-transformers; of each only single
functions are run. Arrays are in our order, [h,w,c].
"""
import argparse
import ast
import json
import os
import random
import subprocess
import sys
import types

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from PIL import Image

OUT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "fixtures", "condition")
rng = np.random.default_rng(182)


def function(path, name, scope):
    """One function of a script, without what the script imports."""
    tree = ast.parse(open(path).read())
    body = [n for n in tree.body if isinstance(n, ast.FunctionDef) and n.name == name]
    exec(compile(ast.Module(body, []), path, "exec"), scope)
    return scope[name]


def commit(folder):
    return subprocess.run(["git", "-C", folder, "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()


def save(name, a):
    np.save(os.path.join(OUT, name + ".npy"), np.ascontiguousarray(a))


def hwc(t):
    return t[0].permute(1, 2, 0).numpy()


def layout_tokens(taming):
    """Their builder of layout tokens, with boxes kept in their order: tokens(boxes, classes)."""
    more = types.ModuleType("more_itertools")
    recipes = types.ModuleType("more_itertools.recipes")
    transforms = types.ModuleType("taming.data.image_transforms")
    recipes.grouper = transforms.convert_pil_to_tensor = None # only its drawing needs them
    sys.path.insert(0, taming)
    import taming.data
    sys.modules.update({"more_itertools": more, "more_itertools.recipes": recipes, "taming.data.image_transforms": transforms})
    from taming.data.conditional_builder.objects_bbox import ObjectsBoundingBoxConditionalBuilder
    from taming.data.helper_types import Annotation
    import taming.data.conditional_builder.objects_center_points as module
    module.random = types.SimpleNamespace(shuffle=lambda a: None) # boxes stay in their order

    def tokens(boxes, classes):
        """Of boxes as our JSON has them. The witness takes widths: x0 + (x1 - x0) must be x1."""
        annotations = [Annotation(area=0, image_id="", bbox=(b["x0"], b["y0"], b["x1"] - b["x0"], b["y1"] - b["y0"]),
                                  category_no=b["class"], category_id="", **{"is_" + n: n in b.get("modifiers", []) for n in MODIFIERS})
                       for b in boxes]
        return ObjectsBoundingBoxConditionalBuilder(classes, 30, 8192, True, True, True).build(annotations)

    return tokens


MODIFIERS = "group_of occluded depiction inside".split()


def layouts(taming):
    tokens = layout_tokens(taming)
    r = random.Random(92)
    cases = []
    for count in (0, 1, 2, 7, 30):
        for classes in (340, 183):
            boxes = []
            for k in range(count):
                # many fall half way between lines of the grid; the witness takes widths, so x0 + (x1 - x0) must be x1
                while True:
                    x0, x1 = sorted(r.choice([r.randrange(1025) / 1024, r.randrange(9) / 8, r.random()]) for _ in range(2))
                    y0, y1 = sorted(r.choice([r.randrange(1025) / 1024, r.randrange(9) / 8, r.random()]) for _ in range(2))
                    if x0 < x1 and y0 < y1 and x0 + (x1 - x0) == x1 and y0 + (y1 - y0) == y1:
                        break
                on = [n for n in MODIFIERS if r.random() < 0.3]
                number = r.randrange(classes)
                box = {"class": number, "x0": x0, "y0": y0, "x1": x1, "y1": y1}
                if on or r.random() < 0.5:
                    box["modifiers"] = on
                boxes.append(box)
            cases.append({"classes": classes, "boxes": boxes, "tokens": tokens(boxes, classes).tolist()})
    json.dump(cases, open(os.path.join(OUT, "layouts.json"), "w"))


def labels():
    """SpatialRescaler's own two lines on a one-hot map: interpolate, twice; the 1x1 convolution is the network's."""
    m = rng.integers(0, 7, (8, 12))
    m[0, 0] = 6
    x = F.one_hot(torch.from_numpy(m), 7).permute(2, 0, 1)[None].float()
    save("labels", m.astype(np.int32))
    save("labels_1", hwc(x))
    for n in (2, 4):
        x = F.interpolate(x, scale_factor=0.5, mode="bilinear")
        save("labels_%d" % n, hwc(x))


def inpainting(ldm, sd2):
    h, w, f = 16, 24, 4
    image = rng.integers(0, 256, (h, w, 3), dtype=np.uint8)
    image[0, :4, 0] = (0, 127, 128, 255)
    mask = np.where(rng.random((h, w)) < 0.5, rng.integers(0, 128, (h, w)), rng.integers(128, 256, (h, w))).astype(np.uint8)
    mask[0, :2] = 127, 128
    Image.fromarray(image).save(os.path.join(OUT, "picture.png"))
    Image.fromarray(mask).save(os.path.join(OUT, "mask.png"))
    scope = dict(np=np, torch=torch, Image=Image, repeat=repeat, rearrange=rearrange)
    a = function(os.path.join(ldm, "scripts/inpaint.py"), "make_batch", scope)(
        os.path.join(OUT, "picture.png"), os.path.join(OUT, "mask.png"), "cpu")
    b = function(os.path.join(sd2, "scripts/gradio/inpainting.py"), "make_batch_sd", scope)(
        Image.fromarray(image), Image.fromarray(mask), "", "cpu")
    lr = function(os.path.join(sd2, "scripts/gradio/superresolution.py"), "make_batch_sd", scope)(Image.fromarray(image), "", "cpu")["lr"]
    latent = torch.from_numpy(rng.standard_normal((1, 3, h // f, w // f)).astype(np.float32))
    small = lambda m: F.interpolate(m, size=latent.shape[-2:])
    save("latent", hwc(latent))
    save("ldm_masked", hwc(a["masked_image"]))
    save("sd_masked", hwc(b["masked_image"]))
    save("ldm_concat", hwc(torch.cat((latent, small(a["mask"])), dim=1)))
    save("sd_concat", hwc(torch.cat((small(b["mask"]), latent), dim=1)))
    save("picture", hwc(lr))
    odd = torch.from_numpy(rng.random((1, 1, 13, 29)).astype(np.float32))
    save("odd", odd[0, 0].numpy())
    save("odd_nearest", F.interpolate(odd, size=(5, 9))[0, 0].numpy())
    return lr


def depth():
    d = torch.from_numpy(rng.random((1, 1, 40, 56)).astype(np.float32))
    save("depth", d[0, 0].numpy())
    for name, size, guard in (("depth_authors", (5, 7), 0.001), ("depth_diffusers", (5, 7), 0), ("depth_uneven", (9, 64), 0.001)):
        c = F.interpolate(d, size=size, mode="bicubic", align_corners=False)
        low, high = torch.amin(c, dim=[1, 2, 3], keepdim=True), torch.amax(c, dim=[1, 2, 3], keepdim=True)
        save(name, (2.0 * (c - low) / (high - low + guard) - 1.0)[0, 0].numpy())


def noised(sd2, lr):
    sys.path.insert(0, sd2)
    from ldm.modules.diffusionmodules.upscaling import AbstractLowScaleModel
    model = AbstractLowScaleModel(dict(linear_start=1e-4, linear_end=2e-2, timesteps=1000))
    noise = torch.from_numpy(rng.standard_normal(tuple(lr.shape)).astype(np.float32))
    save("noise", hwc(noise))
    for level in (0, 20, 349):
        save("noised_%d" % level, hwc(model.q_sample(lr, torch.tensor([level]), noise)))


def main():
    p = argparse.ArgumentParser()
    for name in ("--ldm", "--sd2", "--taming"):
        p.add_argument(name, required=True)
    a = p.parse_args()
    os.makedirs(OUT, exist_ok=True)
    layouts(a.taming)
    labels()
    noised(a.sd2, inpainting(a.ldm, a.sd2))
    depth()
    json.dump({"torch": torch.__version__, "latent-diffusion": commit(a.ldm), "stablediffusion": commit(a.sd2),
               "taming-transformers": commit(a.taming)}, open(os.path.join(OUT, "fixture.json"), "w"), indent=1)


if __name__ == "__main__":
    main()
