/* library.h -- launches that are calls of a vendor library (CLBlast) instead of a kernel of ours. */
#ifndef LDM_CL_LIBRARY_H
#define LDM_CL_LIBRARY_H

#include "cl/cl_internal.h"

bool ldm_library_knows(const char *kernel);
/* Arguments as recorded, see library.c; mem[i] from byte at[i] on is the buffer of argument i. */
ldm_status ldm_library_enqueue(ldm_cl *cl, const ldm_launch *l, const cl_mem *mem, const size_t *at, cl_event *event);

#endif
