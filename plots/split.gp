# split.gp -- where a denoising step spends its time, by op. columns: network, one share (%) for each of `kinds`, seconds
load vars
size_x = 900; size_y = 460
load "plots/style.gp"
set title "Where one UNet step spends its time, by op\n".where_text font ",11"
set style data histograms
set style histogram rowstacked
set style fill solid 0.9 border rgb "white"
set boxwidth 0.7
set yrange [0:108]
set ytics 0, 20, 100
set ylabel "share of the step's kernel time, %"
set key outside right center vertical Left reverse samplen 1.5 invert
set grid noxtics
plot for [i = 1:words(kinds)] data using (column(i + 1)):xtic(1) lc rgb colour[i] title word(kinds, i), \
     data using 0:(103):(sprintf("%.3g s", column(words(kinds) + 2))) with labels font ",9" tc rgb ink notitle
