/* points.h -- between which noise levels a sampler's steps run (internal to host/sample): the lists of times and sigmas
 * that the authors' code, k-diffusion and diffusers' scheduler classes make. */
#ifndef LDM_POINTS_H
#define LDM_POINTS_H

#include "sample/sample.h"

typedef struct ldm_point {
    double t;     /* what the network is told */
    double a;     /* alpha_bar = 1 / (1 + sigma^2) */
    double sigma; /* 0 at the end of most */
    bool scaled;  /* x is kept as x / sqrt(a): the sigma samplers' space */
} ldm_point;

typedef struct ldm_span { /* one step, or for PLMS in diffusers' manner one entry of its list of times */
    ldm_point from, to;
} ldm_span;

typedef struct ldm_points {
    ldm_span *span; /* in running order, freed with free(): `skipped` that img2img leaves out, then `count` */
    int count, skipped;
    double start_z, start_noise;
} ldm_points;

/* Chosen, and cut to what img2img's strength leaves. */
ldm_status ldm_points_make(const ldm_schedule *s, const ldm_sampler_options *o, ldm_points *out);
/* The lists of diffusers' classes. */
ldm_status ldm_points_diffusers(const ldm_schedule *s, const ldm_sampler_options *o, ldm_points *out);

enum { LDM_KUTTA_TIMES = 12 }; /* entries of PNDM's list that are its three Runge-Kutta steps, four each */

ldm_point ldm_point_sigma(const ldm_schedule *s, double sigma); /* scaled, its time by ldm_time_of */
ldm_point ldm_point_alpha(double t, double alpha_bar);          /* not scaled */
/* Karras' (rho 7) or exponential sigmas, n of them from high to low. */
void ldm_sigma_ramp(ldm_sigmas kind, double low, double high, int n, double *out);

#endif
