/* test_sample.c -- sample/: schedules, sampler coefficients, time embeddings and random numbers against values printed
 * by PyTorch 2.15 and the authors' util.py (CompVis/latent-diffusion a506df5). */
#include "test.h"
#include "sample/sample.h"
#include <math.h>

static double relative(double got, double want) { return want ? fabs(got - want) / fabs(want) : fabs(got); }

static void schedules(void) {
    static const struct {
        double start, end, alpha_bar[4], sigma_min, sigma_max; /* alpha_bar at 0, 1, 499, 999 */
    } want[] = {
        {.0015, .0195, {.998500000, .996994427, .115844491, 1.42304e-4}, .038759, 83.822494},
        {.0015, .0205, {.998500000, .996994153, .108575996, 9.6911e-5}, .038759, 101.576376},
        {.0015, .0155, {.998500000, .996995602, .151077423, 6.68665e-4}, .038759, 38.658981},
        {.0015, .015, {.998500000, .996995759, .156307094, 8.12518e-4}, .038759, 35.067667},
        {.00085, .012, {.999150000, .998296028, .277669650, 4.660099e-3}, .029167, 14.614641},
    };
    ldm_schedule s;
    CASE("linear schedules: alpha_bar and sigma tables") {
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            CHECK_OK(ldm_schedule_linear(want[i].start, want[i].end, &s));
            static const int at[4] = {0, 1, 499, 999};
            for (int k = 0; k < 4; k++)
                CHECK(relative(s.alpha_bar[at[k]], want[i].alpha_bar[k]) < 6e-6,
                      "(%g, %g) alpha_bar[%d] = %.9g, wanted %.9g", want[i].start, want[i].end, at[k],
                      s.alpha_bar[at[k]], want[i].alpha_bar[k]);
            double low = sqrt((1 - s.alpha_bar[0]) / s.alpha_bar[0]),
                   high = sqrt((1 - s.alpha_bar[999]) / s.alpha_bar[999]);
            CHECK(fabs(low - want[i].sigma_min) < 6e-7, "(%g, %g) sigma_min = %.7f", want[i].start, want[i].end, low);
            CHECK(fabs(high - want[i].sigma_max) < 6e-7, "(%g, %g) sigma_max = %.7f", want[i].start, want[i].end, high);
        }
    }
    CASE("linear schedules: inner points, linear in sqrt(beta)") {
        CHECK_OK(ldm_schedule_linear(.00085, .012, &s));
        static const struct {
            int t;
            double a;
        } sd[] = {{21, .980380748}, {41, .960872788}, {501, .274999067}, {961, .007281727}, {981, .005775500}};
        for (int i = 0; i < 5; i++)
            CHECK(fabs(s.alpha_bar[sd[i].t] - sd[i].a) < 6e-10, "alpha_bar[%d] = %.9f, wanted %.9f", sd[i].t,
                  s.alpha_bar[sd[i].t], sd[i].a);
        CHECK_OK(ldm_schedule_linear(.0015, .0195, &s));
        CHECK(fabs(s.alpha_bar[21] - .965732029) < 6e-10, "alpha_bar[21] = %.9f", s.alpha_bar[21]);
        CHECK(relative(s.alpha_bar[981], 2.01956e-4) < 3e-6, "alpha_bar[981] = %.9g", s.alpha_bar[981]);
        CHECK(fabs(2 * sqrt(s.beta[500]) - sqrt(s.beta[499]) - sqrt(s.beta[501])) < 1e-15,
              "sqrt(beta) is not linear in t");
    }
    CASE("linear schedules: betas outside (0, 1) are refused") {
        CHECK(ldm_schedule_linear(0, .02, &s) == LDM_ERR_ARG, "start 0 accepted");
        CHECK(ldm_schedule_linear(.001, 1, &s) == LDM_ERR_ARG, "end 1 accepted");
        CHECK(ldm_schedule_linear(NAN, .02, &s) == LDM_ERR_ARG, "NaN accepted");
    }
}

/* DDIM or DDPM of the authors. */
static ldm_status make(const ldm_schedule *s, ldm_method m, ldm_prediction p, int steps, double eta, ldm_sampler *out) {
    ldm_sampler_options o = ldm_sampler_defaults(m, LDM_MANNER_AUTHORS);
    o.prediction = p, o.steps = steps, o.eta = eta;
    return ldm_sampler_make(s, &o, out);
}
static double along(const ldm_sampler *s, int eval, int column) { return s->eval[eval].next[0].c[column]; }

static void ddim_times(void) {
    ldm_schedule s;
    ldm_sampler made = {0};
    CHECK_OK(ldm_schedule_linear(.0015, .0195, &s));
    CASE("DDIM: times, also where S does not divide 1000") {
        static const struct {
            int S, n, first, second, last;
        } want[] = {
            {50, 50, 981, 961, 1},   {200, 200, 996, 991, 1}, {250, 250, 997, 993, 1}, {500, 500, 999, 997, 1},
            {400, 500, 999, 997, 1}, {10, 10, 901, 801, 1},   {30, 31, 991, 958, 1},
        };
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            CHECK_OK(make(&s, LDM_DDIM, LDM_PREDICT_EPS, want[i].S, 0, &made));
            const ldm_eval *e = made.eval;
            int n = made.evals;
            CHECK(n == want[i].n && made.steps == n && e[0].t == want[i].first && e[1].t == want[i].second &&
                      e[n - 1].t == want[i].last,
                  "S = %d: %d steps %g %g ... %g", want[i].S, n, e[0].t, e[1].t, e[n - 1].t);
            ldm_sampler_free(&made);
        }
        CHECK_OK(make(&s, LDM_DDIM, LDM_PREDICT_EPS, 1, 0, &made));
        CHECK(made.evals == 1 && made.eval[0].t == 1, "S = 1: %d steps, t = %g", made.evals, made.eval[0].t);
        ldm_sampler_free(&made);
    }
    CASE("DDIM: every S of 0..1001: refused exactly where the authors' list reaches index 1000") {
        for (int S = 0; S <= 1001; S++) {
            bool bad = S == 3 || S == 9 || S == 27 || S == 36 || S == 37 || (S >= 101 && S <= 111) ||
                       (S >= 251 && S <= 333) || S >= 501 || S < 1;
            ldm_status st = make(&s, LDM_DDIM, LDM_PREDICT_EPS, S, 0, &made);
            CHECK((st == LDM_ERR_ARG) == bad, "S = %d: status %d", S, st);
            CHECK((made.eval != NULL) == !bad, "S = %d: steps %s", S, made.eval ? "made" : "missing");
            ldm_sampler_free(&made);
        }
    }
    CASE("DDIM: a refusal names the nearest S that works") {
        static const struct {
            int S;
            const char *nearest;
        } want[] = {{3, "works is 4"},     {37, "works is 38"},    {36, "works is 35"}, {104, "works is 100"},
                    {109, "works is 112"}, {1000, "works is 500"}, {0, "works is 1"}};
        for (size_t i = 0; i < sizeof want / sizeof *want; i++) {
            CHECK(make(&s, LDM_DDIM, LDM_PREDICT_EPS, want[i].S, 0, &made) == LDM_ERR_ARG, "S = %d accepted",
                  want[i].S);
            CHECK(strstr(ldm_message(), want[i].nearest), "S = %d: \"%s\", wanted \"%s\"", want[i].S, ldm_message(),
                  want[i].nearest);
        }
        CHECK(make(&s, LDM_DDIM, LDM_PREDICT_EPS, 50, -.1, &made) == LDM_ERR_ARG, "eta -0.1 accepted");
        CHECK(make(&s, LDM_DDIM, LDM_PREDICT_EPS, 50, NAN, &made) == LDM_ERR_ARG, "eta NaN accepted");
    }
}

static void coefficients(void) {
    ldm_schedule s;
    ldm_sampler made = {0};
    CHECK_OK(ldm_schedule_linear(.0015, .0195, &s));
    CASE("DDIM: coefficients for eta 0 and 1, 50 steps") {
        /* position from the end, a, a_prev, sigma at eta 1: make_ddim_sampling_parameters */
        static const struct {
            int i, t;
            double a, prev, sigma;
        } want[] = {
            {0, 1, 0.996994436, 0.99849999, 0.0274320478},
            {1, 21, 0.965732038, 0.996994436, 0.0524425306},
            {25, 501, 0.114004783, 0.133362904, 0.37680532},
            {49, 981, 0.00020195602, 0.000294785626, 0.561138321},
        };
        for (int eta = 0; eta <= 1; eta++) {
            CHECK_OK(make(&s, LDM_DDIM, LDM_PREDICT_EPS, 50, eta, &made));
            for (int k = 0; k < 4; k++) {
                int at = made.evals - 1 - want[k].i;
                double t = made.eval[at].t, got_x = along(&made, at, 0), got_e = along(&made, at, LDM_OUT),
                       got_n = along(&made, at, LDM_NOISE);
                double sigma = eta * want[k].sigma, cx = sqrt(want[k].prev / want[k].a);
                double ce = sqrt(1 - want[k].prev - sigma * sigma) - cx * sqrt(1 - want[k].a);
                CHECK(t == want[k].t && relative(got_x, cx) < 2e-8 && fabs(got_e - ce) < 5e-8 * cx &&
                          relative(got_n, sigma) < 1e-6,
                      "eta %d t %g: %.9g %.9g %.9g, wanted %.9g %.9g %.9g", eta, t, got_x, got_e, got_n, cx, ce, sigma);
            }
            ldm_sampler_free(&made);
        }
    }
    CASE("DDPM: posterior coefficients") {
        static const struct {
            int t;
            double from_x0, from_x, sigma, recip, recipm1;
        } want[] = {
            /* register_schedule */
            {0, 1.0000000000000362, 0, 0, 1.0007508448060736, 0.03875891355636986},
            {1, 0.5013032179615805, 0.4986964988937149, 0.027432087567637924, 1.0015061825227347, 0.05490567940806386},
            {199, 0.007104130368057932, 0.9926889135519924, 0.05866691000327075, 1.273367199545789, 0.7883298959693747},
            {999, 0.0002349530757021351, 0.9901991968098864, 0.13964220280741713, 83.82845924673154, 83.82249447302873},
        };
        CHECK_OK(make(&s, LDM_DDPM, LDM_PREDICT_EPS, 1000, 0, &made));
        CHECK(made.evals == 1000, "%d steps", made.evals);
        for (int k = 0; k < 4; k++) {
            int at = 999 - want[k].t;
            double t = made.eval[at].t, got_x = along(&made, at, 0), got_e = along(&made, at, LDM_OUT),
                   got_n = along(&made, at, LDM_NOISE);
            double cx = want[k].from_x0 * want[k].recip + want[k].from_x, ce = -want[k].from_x0 * want[k].recipm1;
            CHECK(t == want[k].t && relative(got_x, cx) < 1e-12 && relative(got_e, ce) < 1e-10 &&
                      relative(got_n, want[k].sigma) < 1e-10,
                  "t %g: %.15g %.15g %.15g, wanted %.15g %.15g %.15g", t, got_x, got_e, got_n, cx, ce, want[k].sigma);
        }
        ldm_sampler_free(&made);
    }
    CASE("eps, v and x0 predictions of the same picture and noise give the same step") {
        double x0 = .7, eps = -1.3;
        for (int sampler = 0; sampler < 2; sampler++) {
            double first[1000];
            for (int p = LDM_PREDICT_EPS; p <= LDM_PREDICT_X0; p++) {
                CHECK_OK(make(&s, sampler ? LDM_DDPM : LDM_DDIM, p, 20, sampler ? 0 : .5, &made));
                for (int i = 0; i < made.evals; i++) {
                    double a = s.alpha_bar[(int)made.eval[i].t];
                    if (sampler == 0) a = (float)a;
                    double x = sqrt(a) * x0 + sqrt(1 - a) * eps;
                    double out = p == LDM_PREDICT_EPS ? eps
                                 : p == LDM_PREDICT_V ? sqrt(a) * eps - sqrt(1 - a) * x0
                                                      : x0;
                    double got = along(&made, i, 0) * x + along(&made, i, LDM_OUT) * out;
                    if (p == LDM_PREDICT_EPS) first[i] = got;
                    CHECK(fabs(got - first[i]) < 1e-10, "sampler %d prediction %d t %g: %.12g, eps gives %.12g",
                          sampler, p, made.eval[i].t, got, first[i]);
                }
                ldm_sampler_free(&made);
            }
        }
    }
    CASE("DDIM with eta 0 and a perfect eps lands on q(x | x0, eps) at alpha_bar[0]") {
        double x0 = -.4, eps = .9;
        CHECK_OK(make(&s, LDM_DDIM, LDM_PREDICT_EPS, 10, 0, &made));
        double a = (float)s.alpha_bar[(int)made.eval[0].t], x = sqrt(a) * x0 + sqrt(1 - a) * eps;
        for (int i = 0; i < made.evals; i++) x = along(&made, i, 0) * x + along(&made, i, LDM_OUT) * eps;
        a = (float)s.alpha_bar[0];
        CHECK(fabs(x - (sqrt(a) * x0 + sqrt(1 - a) * eps)) < 1e-12, "%.12g", x);
        ldm_sampler_free(&made);
    }
}

static void embeddings(void) {
    CASE("timestep embedding: cosines first, divisor half, odd width padded with 0") {
        /* width, t, then elements 0, 1, half-1, half, half+1, 2 half-1, last, as the authors' f32 function gives them
         */
        static const struct {
            int d;
            double t;
            float want[7];
        } rows[] = {
            {224, 1, {0.540302f, 0.604980f, 1.000000f, 0.841471f, 0.796241f, 0.000109f, 0.000109f}},
            {7, 981, {0.679957f, 0.019103f, -0.516454f, 0.733252f, 0.999817f, 0.856315f, 0.000000f}},
            {192, 981, {0.679957f, 0.576321f, 0.994176f, 0.733252f, -0.817223f, 0.107768f, 0.107768f}},
        };
        for (int r = 0; r < 3; r++) {
            float e[256];
            int d = rows[r].d, half = d / 2, at[7] = {0, 1, half - 1, half, half + 1, 2 * half - 1, d - 1};
            ldm_timestep_embedding(rows[r].t, d, e);
            /* the authors' argument t f_i is f32: half an ulp of it, and of f_i, times t, then six printed digits */
            double bound = 2 * rows[r].t * 0x1p-23 + 1e-6;
            for (int k = 0; k < 7; k++)
                CHECK(fabs(e[at[k]] - rows[r].want[k]) <= bound, "d %d t %g [%d] = %.7f, wanted %.6f", d, rows[r].t,
                      at[k], e[at[k]], rows[r].want[k]);
        }
        float e[4];
        ldm_timestep_embedding(.5, 4, e); /* fractional times are allowed */
        CHECK(fabs(e[0] - cos(.5)) < 1e-7 && fabs(e[1] - cos(.005)) < 1e-7 && fabs(e[2] - sin(.5)) < 1e-7 &&
                  fabs(e[3] - sin(.005)) < 1e-7,
              "t = 0.5: %g %g %g %g", e[0], e[1], e[2], e[3]);
    }
}

static void guidance_embeddings(void) {
    CASE("embedding of the guidance scale: w = scale - 1, times 1000, sines first, divisor half - 1") {
        /* diffusers 0.42: get_guidance_scale_embedding of w = 6.5, and of w = 0.5 with an odd width; its ln 10000 is f32 */
        static const float even[8] = {-.044784739f, .110166487f, .991123329f, .605186463f,
                                      -.998996660f, .993913148f, .132945651f, .796083755f},
                           odd[7] = {-.467771805f, -.958924365f, .049979163f, -.883849273f, .283661879f, .998750261f, 0};
        float e[8];
        ldm_guidance_embedding(7.5, 8, e);
        for (int i = 0; i < 8; i++) CHECK(fabsf(e[i] - even[i]) < 5e-5f, "[%d] = %.9f", i, e[i]);
        ldm_guidance_embedding(1.5, 7, e);
        for (int i = 0; i < 7; i++) CHECK(fabsf(e[i] - odd[i]) < 5e-5f, "odd [%d] = %.9f", i, e[i]);
    }
}

static void check_values(const char *what, const float *got, const float *want, int n) {
    for (int i = 0; i < n; i++)
        CHECK(fabsf(got[i] - want[i]) <= 5e-7f, "%s [%d] = %.9g, wanted %.9g", what, i, got[i], want[i]);
}

static void random_numbers(void) {
    ldm_rng *r;
    static float x[4 * 64 * 64];
    CASE("randn: seed 0, three elements twice: the second of a pair waits for the next call") {
        static const float first[3] = {1.5409961f, -0.2934289f, -2.1787894f},
                           second[3] = {0.5684313f, -1.0845224f, -1.3985955f};
        CHECK_OK(ldm_rng_create((ldm_rng_kind){0}, 0, &r));
        ldm_rng_fill(r, x, 3), check_values("first call", x, first, 3);
        ldm_rng_fill(r, x, 3), check_values("second call", x, second, 3);
        ldm_rng_destroy(r);
    }
    CASE("randn: seed 42, 37 elements: two blocks, a rest that redraws the last sixteen") {
        static const float want[37] = {
            1.92691529f,   1.48728406f,   0.900717199f,  -2.10552096f,  0.678418458f,  -1.23454487f,  -0.0430674776f,
            -1.60466695f,  -0.752135277f, 1.64872301f,   -0.392478645f, -1.40360713f,  -0.727881312f, -0.559430182f,
            -0.768838882f, 0.76244539f,   1.64231694f,   -0.159597471f, -0.497397542f, 0.439589262f,  -0.758131146f,
            -0.424518973f, 0.305720925f,  -0.774592519f, 0.0349123441f, 0.321103007f,  1.57360017f,   -0.845467448f,
            1.3123076f,    2.12278509f,   -1.23465312f,  -0.487913877f, -1.41805995f,  0.896268308f,  0.0499053858f,
            2.26671791f,   1.17895091f};
        CHECK_OK(ldm_rng_create((ldm_rng_kind){0}, 42, &r));
        ldm_rng_fill(r, x, 37), check_values("n = 37", x, want, 37);
        ldm_rng_destroy(r);
    }
    CASE("randn: seed 7, calls of 3, 20 and 5: a long call leaves the waiting value alone") {
        static const float a[3] = {-0.146795094f, 0.786141276f, 0.94682163f};
        static const float b[20] = {-0.176437929f, 1.75017238f,  1.93001688f,  0.98611182f,    -1.3032167f,
                                    0.0874783769f, -1.38496137f, 0.503563881f, -0.0835282281f, -0.0234779324f,
                                    0.174375355f,  2.2983427f,   1.09558046f,  0.482354164f,   1.39891839f,
                                    1.40585291f,   -1.40125084f, 1.29733586f,  1.64093328f,    -1.05668414f};
        static const float c[5] = {-1.114344f, -0.457818896f, -0.724473298f, 1.27987814f, -0.994066238f};
        CHECK_OK(ldm_rng_create((ldm_rng_kind){0}, 7, &r));
        ldm_rng_fill(r, x, 3), check_values("n = 3", x, a, 3);
        ldm_rng_fill(r, x, 20), check_values("n = 20", x, b, 20);
        ldm_rng_fill(r, x, 5), check_values("n = 5", x, c, 5);
        ldm_rng_destroy(r);
    }
    CASE("randn: a seed past 32 bits, a whole 4 x 64 x 64 latent") {
        static const struct {
            int i;
            float v;
        } want[] = {{0, 0.337370187f},    {1, -0.177777216f},   {15, 0.269198567f},    {16, -0.0770202354f},
                    {623, 0.220262364f},  {624, -0.746508837f}, {5000, -0.375423729f}, {9999, -1.26000965f},
                    {16376, 1.26234007f}, {16383, -1.81639862f}};
        CHECK_OK(ldm_rng_create((ldm_rng_kind){0}, (1ull << 40) + 123, &r));
        ldm_rng_fill(r, x, 4 * 64 * 64);
        for (size_t k = 0; k < sizeof want / sizeof *want; k++) check_values("latent", x + want[k].i, &want[k].v, 1);
        double sum = 0, squares = 0;
        for (int i = 0; i < 4 * 64 * 64; i++) sum += x[i], squares += (double)x[i] * x[i];
        CHECK(fabs(sum - -64.21726822461642) < 1e-4, "sum %.9g",
              sum); /* 16,384 differences of at most 5e-7 that do not lean one way */
        CHECK(fabs(squares - 16457.374615685512) < 1e-3, "sum of squares %.9g", squares);
        ldm_rng_destroy(r);
    }
}

int main(int argc, char **argv) {
    test_begin(argc, argv, "sample");
    schedules();
    ddim_times();
    coefficients();
    embeddings();
    guidance_embeddings();
    random_numbers();
    return test_end();
}
