/* print.c -- a plan as text: the table of `ldm plan`, and the distinct problems for bench/shapes. */
#include "plan/plan.h"
#include <stdlib.h>
#include <string.h>

ldm_status ldm_plan_print(const ldm_plan *p, const ldm_device *d, ldm_text *out) {
    char text[LDM_PROBLEM_TEXT], params[160], place[40];
    double flops = 0, bytes = 0;
    ldm_text_add(out, "%5s %-34s %-100s %-18s %-26s %10s %8s %s\n", "step", "scope", "problem", "implementation",
                 "parameters", "MFLOP", "MB", "arena");
    for (int i = 0; i < p->steps; i++) {
        const ldm_step_info *s = &p->step[i];
        const ldm_op *op = s->problem.op;
        ldm_choice c = {0};
        ldm_status st = d ? ldm_choose(&s->problem, d, &c) : LDM_OK;
        if (st) return ldm_prefix(st, "step %d (%s)", i, s->scope);
        ldm_cost cost = op->cost(&s->problem);
        ldm_tensor y = s->slot[ldm_op_slots(op) - 1];
        while (p->tensor[y].kind == LDM_VIEW) y = p->tensor[y].parent;
        if (p->tensor[y].spilled) snprintf(place, sizeof place, "host");
        else snprintf(place, sizeof place, "%d:0x%zx", p->tensor[y].chunk, p->tensor[y].offset);
        ldm_text_add(out, "%5d %-34s %-100s %-18s %-26s %10.2f %8.2f %s\n", i, s->scope,
                     ldm_problem_text(&s->problem, text, sizeof text), c.impl ? c.impl->name : "-",
                     c.impl ? ldm_choice_params(&c, params, sizeof params) : "-", cost.flops * 1e-6, cost.bytes * 1e-6,
                     place);
        flops += cost.flops, bytes += cost.bytes;
    }
    int tensors;
    int64_t params_count = ldm_plan_params(p, &tensors);
    ldm_text_add(out, "%d steps, %lld parameters in %d tensors (", p->steps, (long long)params_count, tensors);
    ldm_plan_storage(p, out);
    ldm_text_add(out, "), %.2f GFLOP, %.1f MB moved\n", flops * 1e-9, bytes * 1e-6);
    for (int i = 0; i < p->chunks; i++)
        ldm_text_add(out, "activation arena chunk %d: %.1f MiB\n", i, (double)p->chunk_bytes[i] / 0x1p20);
    if (d) {
        ldm_memory m;
        ldm_status st = ldm_exec_memory(p, d, NULL, &m);
        if (st) return st;
        ldm_text_add(out, "peak device memory: weights %.1f MiB + activations %.1f MiB + scratch %.1f MiB = %.1f MiB\n",
                     (double)m.weights / 0x1p20, (double)m.activations / 0x1p20, (double)m.scratch / 0x1p20,
                     (double)(m.weights + m.activations + m.scratch) / 0x1p20);
        if (m.striped)
            ldm_text_add(out, "%d steps are made in strips: their maps, %.1f MiB at most, lie in host memory\n", m.striped,
                         (double)m.host / 0x1p20);
        if (m.groups)
            ldm_text_add(out, "%.1f MiB of weights come from host memory in %d groups while steps run\n", (double)m.streamed / 0x1p20,
                         m.groups);
        if (m.viewed)
            ldm_text_add(out, "beside it %.1f MiB of weights are read where a file of f32 has them\n", (double)m.viewed / 0x1p20);
    }
    return out->s ? LDM_OK : ldm_fail(LDM_ERR_NOMEM, "plan: host memory is out");
}

void ldm_plan_storage(const ldm_plan *p, ldm_text *out) {
    int64_t n[LDM_DTYPES] = {0};
    bool more = false;
    for (int i = 0; i < p->tensors; i++)
        if (p->tensor[i].kind == LDM_PARAM) n[p->tensor[i].dtype] += ldm_shape_count(&p->tensor[i].shape);
    for (int t = LDM_DTYPES - 1; t >= 0; t--)
        if (n[t]) {
            ldm_text_add(out, "%s%.3f M as %s", more ? ", " : "", (double)n[t] * 1e-6, ldm_dtype_name((ldm_dtype)t));
            more = true;
        }
}

void ldm_plan_shapes(const ldm_plan *p, ldm_text *out) {
    char text[LDM_PROBLEM_TEXT], other[LDM_PROBLEM_TEXT];
    for (int i = 0; i < p->steps; i++) {
        int count = 0;
        bool before = false;
        ldm_problem_text(&p->step[i].problem, text, sizeof text);
        for (int j = 0; j < p->steps && !before; j++) {
            if (p->step[j].problem.op != p->step[i].problem.op) continue;
            if (strcmp(ldm_problem_text(&p->step[j].problem, other, sizeof other), text)) continue;
            before = j < i;
            count++;
        }
        if (!before) ldm_text_add(out, "%4d x %s\n", count, text);
    }
}
