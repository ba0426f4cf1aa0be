/* text_encoder.h -- the networks that make a context of token ids, as text that emits steps into a plan:
 *   BERT      the authors' BERTEmbedder and TransformerEmbedder (ldm/modules/encoders/modules.py, x_transformer.py):
 *             learned absolute positions; self-attention of heads x head_width channels whatever the width, without
 * mask, q, k and v without bias; exact GELU CLIP      the text tower of CLIP (arXiv 2103.00020) as FrozenCLIPEmbedder
 * runs it: learned absolute positions, causal mask, biases everywhere OPENCLIP  the same network under OpenCLIP's
 * names, q, k and v as one matrix (FrozenOpenCLIPEmbedder) All are pre-norm: x += attention(norm x); x +=
 * feed_forward(norm x); and end with a norm.
 *
 * Parameters are named as in the authors' state dicts without the outer prefix "cond_stage_model.":
 *   BERT      transformer.token_emb.weight, transformer.attn_layers.layers.0.1.to_q.weight, ..., transformer.norm.bias
 *   CLIP      transformer.text_model.embeddings.token_embedding.weight, transformer.text_model.encoder.layers.0..., ...
 *   OPENCLIP  model.token_embedding.weight, model.transformer.resblocks.0.attn.in_proj_weight, ..., model.ln_final.bias
 * What the context does not depend on is no parameter of ours: BERT's to_logits, OpenCLIP's text_projection and
 * logit_scale, position_ids. */
#ifndef LDM_TEXT_ENCODER_H
#define LDM_TEXT_ENCODER_H

#include "plan/plan.h"

typedef enum ldm_text_kind { LDM_TEXT_BERT, LDM_TEXT_CLIP, LDM_TEXT_OPENCLIP } ldm_text_kind;

typedef struct ldm_text_config {
    const char *name, *about; /* "clip-l"; NULL for one from text */
    ldm_text_kind kind;
    int vocab, length; /* token ids are below vocab; every prompt has exactly `length` of them */
    int width, layers, heads, head_width;
    int hidden;      /* of the feed-forward */
    bool quick_gelu; /* x sigmoid(1.702 x) in place of the exact GELU */
    int pad;         /* token id that fills a prompt up */
    int skip;        /* the clip-skip its models were trained with: 1 last layer, 2 the one before */
} ldm_text_config;

const ldm_text_config *ldm_text_find(const char *name); /* NULL and a sentence if there is none */
const ldm_text_config *const *ldm_text_list(void);      /* ends with NULL */

/* "kind=bert width=192 layers=3 length=24": the fields above by name, kind one of bert, clip, openclip. Not given: what
 * the released ones of that kind have (vocab 30522 or 49408, length 77, heads of 64: BERT 8 of them, CLIP width / 64;
 * hidden 4 width, quick_gelu for CLIP, pad 0, for CLIP 49407; skip 1, for OpenCLIP 2). */
ldm_status ldm_text_config_parse(const char *text, ldm_text_config *out);

/* ids i32 [n,length] -> context [n,length,width]. skip: 1 ends after the last layer, 2 after the one before, ...; the
 * final norm follows in any case. Layers that are left out are emitted too, but nothing reads them: their weights are
 * bound, and ldm_plan_fuse drops their steps. */
ldm_tensor ldm_text_emit(ldm_plan *p, const ldm_text_config *c, ldm_tensor ids, int skip);

#endif
