/* families.h -- models that are not supported, recognised so that they can be refused by name (internal to host/model).
 */
#ifndef LDM_FAMILIES_H
#define LDM_FAMILIES_H

#include "model/places.h"

const char *ldm_family_of_names(const ldm_files *f); /* "Stable Diffusion XL"; NULL if it is none of those known */
const char *ldm_family_of_pipeline(const char *class_name); /* of a model_index.json, likewise */

#endif
