/* write_config.h -- a system's configuration as files (internal to host/model). All append to a text. */
#ifndef LDM_WRITE_CONFIG_H
#define LDM_WRITE_CONFIG_H

#include "model/system.h"

void write_authors_yaml(ldm_text *out, const ldm_system *s);
void write_json_unet(ldm_text *t, const ldm_system *s);
void write_json_stage(ldm_text *t, const ldm_system *s);
void write_json_text(ldm_text *t, const ldm_system *s);
void write_json_scheduler(ldm_text *t, const ldm_system *s); /* DDIM as the authors run it */
/* The width of all heads of an unconditional UNet; 0 if there are several, which diffusers cannot say. */
int write_head_width(const ldm_unet_config *u);

#endif
