/* tree.h -- configuration files as trees of values: JSON (jansson) and YAML (libyaml), which becomes the same kind of
 * tree. Bounded: 16 MiB, 32 levels, 2^18 values; YAML's aliases and tags are refused, so that a small file stays small.
 * Errors are LDM_ERR_FORMAT with the file, the key and what was found. Knows nothing of networks. */
#ifndef LDM_TREE_H
#define LDM_TREE_H

#include "base/base.h"

typedef struct json_t ldm_node; /* jansson's value; NULL stands for what is not there */

typedef struct ldm_tree {
    char *path;     /* for sentences */
    ldm_node *root; /* an object */
} ldm_tree;

ldm_status ldm_tree_open(const char *path, ldm_tree *out); /* by the name's end: .json, else YAML */
ldm_status ldm_tree_parse(const char *text, size_t size, bool yaml, const char *path, ldm_tree *out);
void ldm_tree_close(ldm_tree *t); /* accepts {0} */

/* "model.params.unet_config" below a node; NULL if any of it is missing or no object, or from is NULL. */
ldm_node *ldm_tree_at(ldm_node *from, const char *keys);
bool ldm_tree_is_object(const ldm_node *n);
const char *ldm_tree_string(const ldm_node *n); /* NULL if it is no text */

/* The value of a key of an object. What is missing, or null, leaves *out as it is. */
ldm_status ldm_tree_int(const ldm_tree *t, ldm_node *n, const char *key, int least, int most, int *out);
ldm_status ldm_tree_number(const ldm_tree *t, ldm_node *n, const char *key, double *out); /* finite */
ldm_status ldm_tree_bool(const ldm_tree *t, ldm_node *n, const char *key, bool *out);
ldm_status ldm_tree_text(const ldm_tree *t, ldm_node *n, const char *key, const char **out); /* belongs to the tree */
/* Whole numbers; a single one is a list of one. Booleans count as 0 and 1. */
ldm_status ldm_tree_ints(const ldm_tree *t, ldm_node *n, const char *key, int most, int out[], int *count);

/* Members of an object in the file's order: start with *at = NULL; false at the end. */
bool ldm_tree_next(ldm_node *n, void **at, const char **key, ldm_node **value);
int ldm_tree_length(const ldm_node *n); /* of a list; 0 for anything else */
ldm_node *ldm_tree_item(const ldm_node *n, int i);
/* A value in words: text as it is, true as "true", lists with commas. Appended. */
void ldm_tree_words(const ldm_node *n, ldm_text *out);

#endif
