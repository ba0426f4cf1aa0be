# networks.gp -- our speed over the fastest other library on whole networks, in pairs on one machine.
# columns: row, ratio to the fastest, work, both times, then the ratio to each of `names`
load vars
size_x = 1000; size_y = 190 + 34 * count
load "plots/style.gp"
set title "Our speed over other libraries on whole networks: the same weights, inputs and threads\n".where_text font ",11"
set lmargin 30
set rmargin 4
set yrange [-0.7:count - 0.3]
set xrange [0:*]
set xlabel "times as fast as the other library (1: as fast); bar: as the fastest of them"
set grid noytics
set arrow 1 from 1, graph 0 to 1, graph 1 nohead lc rgb 0x222222 lw 1.5 front
set style fill solid 0.35 noborder
set key bmargin center horizontal Left reverse samplen 0.8
plot data using ($2 / 2):1:($2 / 2):(0.38):ytic(3) with boxxyerror lc rgb blue notitle, \
     for [i = 1:words(names)] data using (column(i + 4)):1 with points pt shape[i] ps 1.3 lc rgb colour[i] title word(names, i), \
     data using (0.02):($1 - 0.02):4 with labels left font ",8" tc rgb ink notitle
