"""tiny.py -- the TAESD family (github.com/madebyollin/taesd), evaluated straight from a state dict: keys are positions in a
list of layers. Pixels are in [0, 1]."""
import torch
import torch.nn.functional as F


def conv(s, key, x, stride=1):
    return F.conv2d(x, s[key + ".weight"], s.get(key + ".bias"), stride=stride, padding=1)


def block(s, key, x):
    if key + ".pool.0.weight" in s:
        h = F.conv2d(x, s[key + ".pool.0.weight"])
        h = F.relu(F.group_norm(h, 4, s[key + ".pool.1.weight"], s[key + ".pool.1.bias"], eps=1e-5))
        x = x + F.conv2d(h, s[key + ".pool.3.weight"])
    h = F.relu(conv(s, key + ".conv.0", x))
    h = F.relu(conv(s, key + ".conv.2", h))
    h = conv(s, key + ".conv.4", h)
    skip = F.conv2d(x, s[key + ".skip.weight"]) if key + ".skip.weight" in s else x
    return F.relu(h + skip)


def encode(s, x):
    x = block(s, "1", conv(s, "0", x))
    for first in (2, 6, 10):
        x = conv(s, str(first), x, stride=2)
        for i in (1, 2, 3):
            x = block(s, str(first + i), x)
    return conv(s, "14", x)


def decode(s, z):
    x = F.relu(conv(s, "1", torch.tanh(z / 3) * 3))
    for first in (3, 8, 13):
        for i in (0, 1, 2):
            x = block(s, str(first + i), x)
        x = conv(s, str(first + 4), F.interpolate(x, scale_factor=2, mode="nearest"))
    return conv(s, "19", block(s, "18", x)).clamp(0, 1)


def four_channels(encoder, decoder):
    """A pair of the four-channel shape out of the 32-channel one: no pools, the first four latent channels."""
    e = {k: v for k, v in encoder.items() if ".pool." not in k}
    d = {k: v for k, v in decoder.items() if ".pool." not in k}
    e["14.weight"], e["14.bias"], d["1.weight"] = e["14.weight"][:4], e["14.bias"][:4], d["1.weight"][:, :4]
    return e, d
