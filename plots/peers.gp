# peers.gp -- our speed over the best other library on the same shape, interleaved in one run.
# columns: row, ratio to the best direct algorithm, ratio to the best of all, op number, shape, name of the best direct
load vars
size_x = 1000; size_y = 170 + 19 * count
load "plots/style.gp"
set title "Our speed over the best of oneDNN, OpenBLAS and CLBlast on the same problem\n".where_text font ",11"
set lmargin 36
set rmargin 4
set yrange [-0.7:count + 2.6]
stats data using 2 nooutput
set xrange [0:STATS_max + 0.5] # room for the longest bar's peer
set xlabel "times as fast as the best peer (1: as fast)"
set grid noytics
set arrow 1 from 1, graph 0 to 1, graph 1 nohead lc rgb 0x222222 lw 1.5 front
set style fill solid 0.85 noborder
set key at graph 1, graph 1 top right horizontal Left reverse samplen 1.2 opaque
tint(op) = op == 0 ? green : op == 1 ? orange : blue
plot data using ($2 / 2):1:($2 / 2):(0.36):(tint($4)):ytic(5) with boxxyerror lc rgb variable notitle, \
     data using 2:1:6 with labels left offset 0.6, 0 font ",8" tc rgb 0x777777 notitle, \
     data using ($2 != $3 ? $3 : NaN):1 with points pt 7 ps 0.9 lc rgb 0x222222 title "conv2d against Winograd too", \
     keyentry with boxes lc rgb blue title "conv2d against direct", keyentry with boxes lc rgb orange title "gemm", \
     keyentry with boxes lc rgb green title "attention"
