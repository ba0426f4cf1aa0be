# growth.gp -- how a network's time grows with its batch, the side of its map, the cores. One indexed block for each of `axes`;
# columns: value, seconds, lowest, highest, seconds if it grew in proportion (with the pixels; over the cores) from the first point
load vars
size_x = 1200; size_y = 440
load "plots/style.gp"
set multiplot layout 1,words(axes) title title_text."\n".where_text font ",11"
set logscale xy 2
set xtics (1, 2, 4, 8, 16, 32, 64, 128)
set ylabel "seconds a run"
set format y "%.3g"
set key top left Left reverse samplen 2
set offsets graph 0.06, graph 0.06, graph 0.05, graph 0.05
do for [i = 1:words(axes)] {
    if (word(axes, i) eq "cores") { set key top right Left reverse samplen 2 }
    set xlabel word(labels, i)
    plot data index i - 1 using 1:5 with lines lc rgb grey lw 1.5 dt 2 title word(proportions, i), \
         data index i - 1 using 1:2:3:4 with yerrorlines ls 1 title "measured", \
         data index i - 1 using 1:2:(sprintf("%.3g", $2)) with labels offset 0, -1.1 tc rgb ink font ",9" notitle
}
unset multiplot
