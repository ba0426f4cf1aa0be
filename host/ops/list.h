/* list.h -- one line an op, heavy ones first. `LDM_OP(x)` stands for the ldm_op called ldm_op_x in host/ops. */
LDM_OP(conv2d)
LDM_OP(gemm)
