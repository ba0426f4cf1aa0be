/* path_hash.h -- files and folders named by their contents, so that what a picture was made of can be found again without its
 * path being told. */
#ifndef LDM_APP_PATH_HASH_H
#define LDM_APP_PATH_HASH_H

#include "base/base.h"

/* SHA-256 of a file; of a folder, of the names and hashes of the files in it that models are made of. Where it lies is
 * remembered in the cache folder. */
ldm_status app_path_hash(const char *path, char *hex);
/* "sha256:HEX" in *path becomes the path it was last seen at, if its contents are still the same; anything else stays. `what`
 * is the option, for the sentence. LDM_ERR_FORMAT where it is not known here. */
ldm_status app_path_find(char **path, const char *what);

#endif
