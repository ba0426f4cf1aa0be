"""sampling.py -- ten-step trajectories: DDIM and DDPM written out in f64 from the equations, checked against the authors'
sampling parameters (with a checkout) and diffusers' schedulers, and run on a fixture's UNet in f64 and f32."""
import numpy as np
import torch

START, END = 0.0015, 0.0195


def tables():
    beta = np.linspace(START**0.5, END**0.5, 1000, dtype=np.float64) ** 2
    return beta, np.cumprod(1 - beta)


def ddim(steps, eta):
    """[(t, alpha_bar, alpha_bar of the next, sigma)] in the order they run; alpha_bar through f32 as the authors' buffer."""
    _, a = tables()
    a = a.astype(np.float32).astype(np.float64)
    stride = 1000 // steps
    out = []
    for t in range(1, 1001, stride):
        prev = a[t - stride] if t > 1 else a[0]
        out.append((t, a[t], prev, eta * np.sqrt((1 - prev) / (1 - a[t]) * (1 - a[t] / prev))))
    return out[::-1]


def run(unet, dtype, kind, x, noises, steps, eta, evaluate, forced=None):
    """x after each of the last ten steps. evaluate(unet, x, t) -> eps. forced: what another run has after each step; then
    every step but the first starts there and not from the one before it."""
    beta, a = tables()
    out = []
    if kind == "ddim":
        for i, (t, at, prev, sigma) in enumerate(ddim(steps, eta)[-10:]):
            x = forced[i - 1] if forced and i else x
            eps = evaluate(unet, x, t)
            x0 = (x - np.sqrt(1 - at) * eps) / np.sqrt(at)
            x = np.sqrt(prev) * x0 + np.sqrt(max(1 - prev - sigma**2, 0)) * eps
            if sigma > 0:
                x = x + sigma * noises[i].to(dtype)
            out.append(x)
        return out
    for i, t in enumerate(range(9, -1, -1)):
        prev = a[t - 1] if t else 1.0
        x = forced[i - 1] if forced and i else x
        eps = evaluate(unet, x, t)
        x0 = np.sqrt(1 / a[t]) * x - np.sqrt(1 / a[t] - 1) * eps
        x = beta[t] * np.sqrt(prev) / (1 - a[t]) * x0 + (1 - prev) * np.sqrt(1 - beta[t]) / (1 - a[t]) * x
        if t:
            x = x + np.sqrt(max(beta[t] * (1 - prev) / (1 - a[t]), 1e-20)) * noises[i].to(dtype)
        out.append(x)
    return out


def check_against_diffusers():
    """One step of each of diffusers' schedulers against ours; its tables are f32 throughout, hence 2e-5."""
    from diffusers import DDIMScheduler, DDPMScheduler

    g = torch.Generator().manual_seed(3)
    x, eps, noise = (torch.randn(1, 4, 8, 8, generator=g, dtype=torch.float64) for _ in range(3))
    common = dict(beta_start=START, beta_end=END, beta_schedule="scaled_linear", clip_sample=False)
    s = DDIMScheduler(set_alpha_to_one=False, steps_offset=1, timestep_spacing="leading", **common)
    s.set_timesteps(50)
    want = [t for t, *_ in ddim(50, 0)]
    assert s.timesteps.tolist() == want, "DDIM times"
    beta, a = tables()
    for t, at, prev, sigma in ddim(50, 1.0)[-10:]:
        theirs = s.step(eps, t, x, eta=1.0, variance_noise=noise).prev_sample
        x0 = (x - np.sqrt(1 - at) * eps) / np.sqrt(at)
        ours = np.sqrt(prev) * x0 + np.sqrt(1 - prev - sigma**2) * eps + sigma * noise
        assert (theirs - ours).abs().max() < 2e-5, ("DDIM", t, (theirs - ours).abs().max())
    s = DDPMScheduler(variance_type="fixed_small", **common)
    for t in range(9, 0, -1):
        torch.manual_seed(5)
        theirs = s.step(eps, t, x, generator=torch.Generator().manual_seed(5)).prev_sample
        n = torch.randn(x.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64)
        x0 = np.sqrt(1 / a[t]) * x - np.sqrt(1 / a[t] - 1) * eps
        prev = a[t - 1]
        ours = beta[t] * np.sqrt(prev) / (1 - a[t]) * x0 + (1 - prev) * np.sqrt(1 - beta[t]) / (1 - a[t]) * x
        ours = ours + np.sqrt(beta[t] * (1 - prev) / (1 - a[t])) * n
        assert (theirs - ours).abs().max() < 2e-5, ("DDPM", t, (theirs - ours).abs().max())


def check_against_authors():
    from ldm.modules.diffusionmodules.util import make_beta_schedule, make_ddim_sampling_parameters, make_ddim_timesteps

    beta, a = tables()
    theirs = make_beta_schedule("linear", 1000, linear_start=START, linear_end=END)
    assert np.abs(theirs - beta).max() < 1e-15, "betas"
    times = make_ddim_timesteps("uniform", 50, 1000, verbose=False)
    sigma, at, prev = make_ddim_sampling_parameters(torch.tensor(a.astype(np.float32)), times, 1.0, verbose=False)
    for i, (t, ours_a, ours_prev, ours_sigma) in enumerate(ddim(50, 1.0)[::-1]):
        assert t == times[i] and ours_a == float(at[i]) and ours_prev == float(prev[i]), ("DDIM alphas", t)
        assert abs(ours_sigma - float(sigma[i])) < 2e-7, ("DDIM sigma", t)
