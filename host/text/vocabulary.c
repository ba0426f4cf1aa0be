/* vocabulary.c -- tokens by id and ids by token: all text in one block, an open hash table over it. Lists of tokens. */
#include "text/internal.h"
#include <stdlib.h>
#include <string.h>

static bool grow(void *array, size_t each, int need, int *cap) {
    if (need <= *cap) return true;
    int to = *cap ? *cap : 256;
    while (to < need) to *= 2; /* need is at most TEXT_MAX_ID or comes from a list that is in memory */
    void *p = realloc(*(void **)array, (size_t)to * each);
    if (p) *(void **)array = p, *cap = to;
    return p != NULL;
}

/* Where a token without NUL is, or would be. */
static uint32_t *free_slot(const text_vocabulary *v, const char *token, size_t n) {
    uint32_t i = (uint32_t)ldm_hash_bytes(ldm_hash_text(""), token, n) & (v->slots - 1);
    for (; v->slot[i]; i = (i + 1) & (v->slots - 1)) {
        const char *have = v->text + v->at[v->slot[i] - 1];
        if (!strncmp(have, token, n) && !have[n]) break;
    }
    return (uint32_t *)&v->slot[i];
}

static ldm_status rehash(text_vocabulary *v) {
    text_vocabulary next = *v;
    next.slots = v->slots ? 2 * v->slots : 1024;
    next.slot = calloc(next.slots, sizeof *next.slot);
    if (!next.slot) return ldm_fail(LDM_ERR_NOMEM, "vocabulary of %u tokens: out of memory", v->taken);
    for (uint32_t i = 0; i < v->slots; i++) {
        if (!v->slot[i]) continue;
        const char *token = v->text + v->at[v->slot[i] - 1];
        *free_slot(&next, token, strlen(token)) = (uint32_t)v->slot[i];
    }
    free(v->slot);
    *v = next;
    return LDM_OK;
}

ldm_status text_vocabulary_add(text_vocabulary *v, const char *token, size_t n, int64_t id) {
    ldm_status st = LDM_OK;
    if (id < 0 || id >= TEXT_MAX_ID)
        return ldm_fail(LDM_ERR_FORMAT, "token %lld of a vocabulary: ids are 0 to %d", (long long)id, TEXT_MAX_ID - 1);
    if (memchr(token, 0, n))
        return ldm_fail(LDM_ERR_FORMAT, "token %lld of a vocabulary has a NUL in it", (long long)id);
    if (v->used + n + 1 > UINT32_MAX / 2) return ldm_fail(LDM_ERR_FORMAT, "vocabulary of more than 2 GiB");
    if (2 * (v->taken + 1) > v->slots) st = rehash(v);
    if (st) return st;
    if (v->used + n + 1 > v->cap) {
        size_t cap = v->cap ? v->cap : 1 << 16;
        while (cap < v->used + n + 1) cap *= 2;
        char *p = realloc(v->text, cap);
        if (!p) return ldm_fail(LDM_ERR_NOMEM, "vocabulary of %zu bytes: out of memory", cap);
        v->text = p, v->cap = cap;
    }
    if (!grow(&v->at, sizeof *v->at, (int)id + 1, &v->at_cap))
        return ldm_fail(LDM_ERR_NOMEM, "vocabulary of %lld tokens: out of memory", (long long)id + 1);
    while (v->size <= id) v->at[v->size++] = UINT32_MAX;
    uint32_t *slot = free_slot(v, token, n);
    if (!*slot) v->taken++;
    *slot = (uint32_t)id + 1;
    v->at[id] = (uint32_t)v->used;
    memcpy(v->text + v->used, token, n);
    v->text[v->used + n] = 0;
    v->used += n + 1;
    if (n > v->longest) v->longest = n;
    return LDM_OK;
}

int32_t text_vocabulary_find(const text_vocabulary *v, const char *token, size_t n) {
    return v->slots && !memchr(token, 0, n) ? (int32_t)*free_slot(v, token, n) - 1 : -1;
}

const char *text_vocabulary_token(const text_vocabulary *v, int id) {
    return id < 0 || id >= v->size || v->at[id] == UINT32_MAX ? NULL : v->text + v->at[id];
}

void text_vocabulary_free(text_vocabulary *v) {
    free(v->text), free(v->at), free(v->slot);
    *v = (text_vocabulary){0};
}

ldm_status text_tokens_add(text_tokens *l, int32_t id, size_t from) {
    int cap = l->cap;
    if (l->n == INT32_MAX / 2 || !grow(&l->id, sizeof *l->id, l->n + 1, &cap) ||
        !grow(&l->from, sizeof *l->from, l->n + 1, &l->cap))
        return ldm_fail(LDM_ERR_NOMEM, "list of %d tokens: out of memory", l->n);
    l->id[l->n] = id, l->from[l->n] = from;
    l->n++;
    return LDM_OK;
}

void text_tokens_free(text_tokens *l) {
    free(l->id), free(l->from);
    *l = (text_tokens){0};
}
