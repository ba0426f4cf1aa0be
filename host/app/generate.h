/* generate.h -- a whole `ldm gen`: options in, pictures out. `ldm sample` is another way to say the options. */
#ifndef LDM_APP_GENERATE_H
#define LDM_APP_GENERATE_H

#include "app/gen_options.h"
#include "io/io.h"

/* g is filled in with what was not given. `was` [opt]: what a picture given with --from says of itself. */
ldm_status app_generate(app_gen_options *g, const ldm_parameters *was);

#endif
