/* peak.h -- the measured peak of a device: what plain OpenCL C reaches in float FMAs and in memory traffic. Every "% of
 * peak" the project prints is of these figures, never of a data sheet. Not an op: kernels/peak.cl computes nothing. */
#ifndef LDM_PEAK_H
#define LDM_PEAK_H

#include "cl/cl.h"

typedef struct ldm_peak {
    double gflops;                     /* float32 FMA counted as two; the best kernel */
    double read_gbs, copy_gbs, triad_gbs; /* bytes read plus bytes written; arrays far larger than the caches */
    char variant[24];                  /* the kernel that was best, "fma_16x24" */
    double seconds;                    /* what measuring took */
} ldm_peak;

/* Best of several repeats of each kernel; under three seconds (besides a cold build). Measured once a process and device. */
ldm_status ldm_measure_peak(ldm_cl *cl, ldm_peak *out);

/* The largest of the three bandwidths. */
double ldm_peak_gbs(const ldm_peak *p);

/* The roofline's limit for a problem, in seconds: max(flops / peak, bytes / bandwidth). */
double ldm_peak_limit(const ldm_peak *p, double flops, double bytes);

#endif
