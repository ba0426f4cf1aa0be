/* serve.h -- `ldm-bench --serve`: one-line commands on standard input, one line of JSON each on standard output, so that a
 * script can interleave us with other libraries.
 *   header            what results files start with, the measured peak included
 *   open PROBLEM      fills and verifies it in the row the table chooses, in the one it would choose with --exact ("direct"), if
 *                     that is another, and, where there is one, in a library row; names them
 *   net NAME NxHxW DTYPE WEIGHTS
 *                     a whole network ("cin-ldm-8", "kl-f8:decoder"), its input NxHxW, with WEIGHTS a checkpoint or a number,
 *                     the seed of synthetic ones; its one variant is called "net"
 *   time VARIANT      runs once to warm up, then for a fiftieth of a second at least; seconds of one run. A net runs once
 *   close             frees what is open (so do open and net) */
#ifndef LDM_BENCH_SERVE_H
#define LDM_BENCH_SERVE_H

#include "cl/cl.h"

int bench_serve(ldm_cl *cl); /* until end of file; the exit status */

#endif
