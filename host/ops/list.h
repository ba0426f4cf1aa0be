/* list.h -- one line an op, heavy ones first. `LDM_OP(x)` stands for the ldm_op called ldm_op_x in host/ops. */
LDM_OP(conv2d)
LDM_OP(gemm)
LDM_OP(attention)
LDM_OP(group_norm)
LDM_OP(layer_norm)
LDM_OP(softmax)
LDM_OP(guidance)
LDM_OP(advance)
