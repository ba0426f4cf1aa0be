/* peak.h -- the measured peak of a device: what plain OpenCL C reaches in float FMAs and in memory traffic. Every "% of
 * peak" the project prints is of these figures, never of a data sheet. Not an op: kernels/peak.cl computes nothing. */
#ifndef LDM_PEAK_H
#define LDM_PEAK_H

#include "ops/op.h"

typedef struct ldm_peak {
    double gflops;                     /* float32 FMA counted as two; the best kernel */
    double read_gbs, copy_gbs, triad_gbs; /* bytes read plus bytes written; arrays far larger than the caches */
    char variant[24];                  /* the kernel that was best, "fma_16x24" */
    double seconds;                    /* what measuring took */
} ldm_peak;

/* Best of several repeats of each kernel; under three seconds (besides a cold build). Measured once a process and device (the last one). */
ldm_status ldm_measure_peak(ldm_cl *cl, ldm_peak *out);
/* The same once more, the higher of each figure counting from now on: the first may have met a busy moment. */
ldm_status ldm_measure_peak_again(ldm_cl *cl, ldm_peak *out);

/* The largest of the three bandwidths. */
double ldm_peak_gbs(const ldm_peak *p);

/* The roofline's limit for a problem, in seconds: max(flops / peak, bytes / bandwidth). */
double ldm_peak_limit(const ldm_peak *p, double flops, double bytes);

/* The least seconds p can take on d with the algorithms we have: the smallest limit over the rows and parameters that can run it (not a
 * library's, none for other devices, and with device.exact only those that lose no accuracy). `best` [opt]: that row, `cost` [opt]: its cost. */
double ldm_peak_floor(const ldm_peak *peak, const ldm_problem *p, const ldm_device *d, const ldm_impl **best, ldm_cost *cost);

/* Seconds that one launch of a kernel that does nothing takes, back to back with others. */
ldm_status ldm_measure_launch(ldm_cl *cl, double *seconds);

#endif
