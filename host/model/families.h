/* families.h -- models that are not supported, recognised so that they can be refused by name (internal to host/model).
 */
#ifndef LDM_FAMILIES_H
#define LDM_FAMILIES_H

#include "model/places.h"

/* "Stable Diffusion XL"; NULL if it is none of those known. beside: there is a UNet, so what tells a family only where
 * there is none does not count. */
const char *ldm_family_of_names(const ldm_files *f, bool beside);
const char *ldm_family_of_pipeline(const char *class_name); /* of a model_index.json, likewise */

#endif
