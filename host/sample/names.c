/* names.c -- samplers and lists of sigmas by the names that programs give them: stable-diffusion.cpp's ids,
 * AUTOMATIC1111's labels, diffusers' class names, the authors' own. */
#include "sample/sample.h"
#include <string.h>
#include <strings.h>

typedef struct named_sampler {
    const char *name;
    ldm_method method;
    ldm_manner manner;
    ldm_sigmas sigmas;
    bool still; /* eta is 0 although the method's is not */
} named_sampler;

static const named_sampler samplers[] = {
    {"ddim", LDM_DDIM, LDM_MANNER_AUTHORS, 0, 0},
    {"plms", LDM_PLMS, LDM_MANNER_AUTHORS, 0, 0},
    {"ddpm", LDM_DDPM, LDM_MANNER_AUTHORS, 0, 0},
    {"dpm_solver", LDM_DPMPP_2M, LDM_MANNER_AUTHORS, 0, 0},
    {"euler", LDM_EULER, LDM_MANNER_SIGMA, 0, 0},
    {"euler_a", LDM_EULER_A, LDM_MANNER_SIGMA, 0, 0},
    {"heun", LDM_HEUN, LDM_MANNER_SIGMA, 0, 0},
    {"dpm2", LDM_DPM2, LDM_MANNER_SIGMA, 0, 0},
    {"dpm++2m", LDM_DPMPP_2M, LDM_MANNER_SIGMA, 0, 0},
    {"lms", LDM_LMS, LDM_MANNER_SIGMA, 0, 0},
    {"lcm", LDM_LCM, LDM_MANNER_SIGMA, LDM_SIGMAS_LCM, 0},
    {"lcm_diffusers", LDM_LCM, LDM_MANNER_DIFFUSERS, 0, 0},
    /* there a DDIM without noise, at other times: Euler a with eta 0 over the list "simple" */
    {"ddim_trailing", LDM_EULER_A, LDM_MANNER_SIGMA, LDM_SIGMAS_SIMPLE, 1},
    {"Euler a", LDM_EULER_A, LDM_MANNER_SIGMA, 0, 0},
    {"DPM++ 2M", LDM_DPMPP_2M, LDM_MANNER_SIGMA, 0, 0},
    {"DDIMScheduler", LDM_DDIM, LDM_MANNER_DIFFUSERS, 0, 0},
    {"DDPMScheduler", LDM_DDPM, LDM_MANNER_DIFFUSERS, 0, 0},
    {"PNDMScheduler", LDM_PLMS, LDM_MANNER_DIFFUSERS, 0, 0},
    {"EulerDiscreteScheduler", LDM_EULER, LDM_MANNER_DIFFUSERS, 0, 0},
    {"EulerAncestralDiscreteScheduler", LDM_EULER_A, LDM_MANNER_DIFFUSERS, 0, 0},
    {"HeunDiscreteScheduler", LDM_HEUN, LDM_MANNER_DIFFUSERS, 0, 0},
    {"KDPM2DiscreteScheduler", LDM_DPM2, LDM_MANNER_DIFFUSERS, 0, 0},
    {"LMSDiscreteScheduler", LDM_LMS, LDM_MANNER_DIFFUSERS, 0, 0},
    {"DPMSolverMultistepScheduler", LDM_DPMPP_2M, LDM_MANNER_DIFFUSERS, 0, 0},
    {"LCMScheduler", LDM_LCM, LDM_MANNER_DIFFUSERS, 0, 0},
};
enum { SAMPLERS = sizeof samplers / sizeof *samplers };

static const struct {
    const char *name;
    ldm_sigmas sigmas;
} lists[] = {{"discrete", LDM_SIGMAS_DISCRETE},
             {"karras", LDM_SIGMAS_KARRAS},
             {"exponential", LDM_SIGMAS_EXPONENTIAL},
             {"sgm_uniform", LDM_SIGMAS_SGM_UNIFORM},
             {"sgm", LDM_SIGMAS_SGM},
             {"simple", LDM_SIGMAS_SIMPLE},
             {"lcm", LDM_SIGMAS_LCM},
             {"Uniform", LDM_SIGMAS_DISCRETE},
             {"SGM Uniform", LDM_SIGMAS_SGM_UNIFORM}};
enum { LISTS = sizeof lists / sizeof *lists };

static const struct {
    const char *name;
    ldm_spacing spacing;
} spacings[] = {
    {"leading", LDM_SPACING_LEADING}, {"trailing", LDM_SPACING_TRAILING}, {"linspace", LDM_SPACING_LINSPACE}};

/* What stable-diffusion.cpp, AUTOMATIC1111 and diffusers have beside ours. */
static bool known_elsewhere(const char *name) {
    static const char *const others[] = {"dpm++2s_a",
                                         "dpm++2mv2",
                                         "ipndm",
                                         "ipndm_v",
                                         "tcd",
                                         "res_multistep",
                                         "res_2s",
                                         "er_sde",
                                         "euler_cfg_pp",
                                         "euler_a_cfg_pp",
                                         "euler_ge",
                                         "dpm++2m_sde",
                                         "dpm++2m_sde_bt",
                                         "DPM++ 2M SDE",
                                         "DPM++ SDE",
                                         "DPM++ 3M SDE",
                                         "DPM++ 2S a",
                                         "DPM2 a",
                                         "DPM fast",
                                         "DPM adaptive",
                                         "UniPC",
                                         "Restart",
                                         "DDIM CFG++",
                                         "DEISMultistepScheduler",
                                         "UniPCMultistepScheduler",
                                         "DPMSolverSinglestepScheduler",
                                         "DPMSolverSDEScheduler",
                                         "KDPM2AncestralDiscreteScheduler",
                                         "TCDScheduler",
                                         "ays",
                                         "gits",
                                         "smoothstep",
                                         "kl_optimal",
                                         "bong_tangent",
                                         "ltx2",
                                         "logit_normal",
                                         "flux",
                                         "flux2",
                                         "beta",
                                         "Align Your Steps",
                                         "KL Optimal",
                                         "DDIM Uniform",
                                         "Turbo"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++)
        if (!strcasecmp(name, others[i])) return true;
    return false;
}

const char *ldm_sampler_name(int i) { return i >= 0 && i < SAMPLERS ? samplers[i].name : NULL; }
const char *ldm_sigmas_name(int i) {
    return i < 0            ? NULL
           : i < LISTS      ? lists[i].name
           : i < LISTS + 3  ? spacings[i - LISTS].name
           : i == LISTS + 3 ? "quad"
                            : NULL;
}

/* "... it is not among ours yet / wanted one of a, b, c". */
static ldm_status unknown(const char *what, const char *name, const char *(*each)(int i)) {
    char all[900] = "";
    for (int i = 0; each(i); i++) snprintf(all + strlen(all), sizeof all - strlen(all), "%s%s", i ? ", " : "", each(i));
    return ldm_fail(LDM_ERR_ARG, "%s '%s': %s %s", what, name,
                    known_elsewhere(name) ? "not supported yet; there are" : "wanted one of", all);
}

/* A name, or one with a list of sigmas behind a blank: "DPM++ 2M Karras". */
static const named_sampler *find_sampler(const char *name, const char **rest) {
    const named_sampler *best = NULL;
    size_t longest = 0;
    for (int i = 0; i < SAMPLERS; i++) {
        size_t n = strlen(samplers[i].name);
        if (n <= longest || strncasecmp(name, samplers[i].name, n) || (name[n] && name[n] != ' ')) continue;
        best = &samplers[i], longest = n;
        *rest = name[n] ? name + n + 1 : NULL;
    }
    return best;
}

ldm_status ldm_sigmas_find(const char *name, ldm_sampler_options *o) {
    if (!strcasecmp(name, "automatic") || !strcasecmp(name, "default")) return LDM_OK;
    for (int i = 0; i < LISTS; i++)
        if (!strcasecmp(name, lists[i].name)) {
            o->sigmas = lists[i].sigmas;
            return LDM_OK;
        }
    for (int i = 0; i < 3; i++)
        if (!strcasecmp(name, spacings[i].name)) {
            if (o->manner != LDM_MANNER_DIFFUSERS)
                return ldm_fail(LDM_ERR_ARG, "scheduler '%s': only diffusers' classes are spaced so", name);
            o->spacing = spacings[i].spacing;
            return LDM_OK;
        }
    if (!strcasecmp(name, "quad")) {
        if (o->manner != LDM_MANNER_AUTHORS || (o->method != LDM_DDIM && o->method != LDM_PLMS))
            return ldm_fail(LDM_ERR_ARG, "scheduler 'quad': only the authors' DDIM and PLMS have it");
        o->quad = true;
        return LDM_OK;
    }
    return unknown("scheduler", name, ldm_sigmas_name);
}

ldm_status ldm_sampler_find(const char *name, ldm_sampler_options *out) {
    const char *rest = NULL;
    const named_sampler *s = find_sampler(name, &rest);
    if (!s || known_elsewhere(name)) return unknown("sampler", name, ldm_sampler_name);
    ldm_sampler_options o = ldm_sampler_defaults(s->method, s->manner);
    o.sigmas = s->sigmas;
    if (s->still) o.eta = 0;
    ldm_status st = rest ? ldm_sigmas_find(rest, &o) : LDM_OK;
    if (!st) *out = o;
    return st;
}
