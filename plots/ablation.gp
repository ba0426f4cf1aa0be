# ablation.gp -- speed-up over f = 1 against the compression factor, and how well each network uses the device.
# columns: f, measured, arithmetic ratio, headline, per cent of measured peak, seconds a sample
load vars
size_x = 1100; size_y = 520
load "plots/style.gp"
set multiplot layout 1,2 title title_text."\n".where_text font ",11"
set logscale x 2
set xrange [0.85:40]
set xtics (1, 2, 4, 8, 16, 32)
set xlabel "compression factor f of the first stage"
set logscale y 2
set ylabel "speed-up over f = 1"
set yrange [0.8:*]
set ytics (1, 2, 4, 8, 16, 32, 64, 128, 256)
set key top left Left reverse samplen 2
plot data using 1:3 with linespoints ls 2 title "multiply-adds alone, steps + decode", \
     data using 1:2 with linespoints ls 1 title "measured, seconds a sample", \
     data using 1:4 with linespoints ls 3 title "headline figures"
unset logscale y
set ylabel "direct operations a second, % of measured peak"
set yrange [0:*]
set ytics 0, 50
unset key
plot data using 1:5 with linespoints ls 1, \
     data using 1:5:(sprintf("%.3g s", $6)) with labels offset 0, 1.1 tc rgb ink font ",9"
unset multiplot
