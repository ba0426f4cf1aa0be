# roofline.gp -- every benched kernel against the measured roofline. One indexed block for each of `kinds`;
# columns: flops a byte, GFLOP/s, per cent of peak; a last block of the kinds of steps of whole networks (`ldm bench --plan`)
load vars
size_x = 1000; size_y = 560
load "plots/style.gp"
set title "Kernels on the shapes of the real networks, against the measured roofline; operations are those of the direct algorithms\n".where_text font ",11"
set logscale xy 10
set xlabel "arithmetic intensity, FLOP per byte (each operand counted once)"
set ylabel "GFLOP/s"
set xrange [0.05:3000]
set yrange [0.05 * bandwidth:peak * 4]
set format xy "%g"
set key bottom right Left reverse samplen 1 box lc rgb 0xdddddd opaque
roof(x) = x * bandwidth < peak ? x * bandwidth : peak
set label 3 "above the slope: data stays in caches between repeats" at 0.06, peak * 0.36 left tc rgb ink font ",9"
set samples 500
set label 1 sprintf("measured FMA peak %.0f GFLOP/s", peak) at 2500, peak * 1.25 right tc rgb ink
set label 2 sprintf("measured memory bandwidth %.1f GB/s", bandwidth) at 0.06, peak * 0.5 left tc rgb ink
plot roof(x) with lines lc rgb ink lw 2 notitle, \
     0.85 * peak * (x * bandwidth > 0.85 * peak ? 1 : NaN) with lines lc rgb ink lw 1 dt 3 title "85 % of peak", \
     for [i = 1:words(kinds)] data index i - 1 using 1:2 with points pt shape[i] ps 1.1 lc rgb colour[i] title word(kinds, i), \
     data index words(kinds) using 1:2 with points pt 8 ps 1.5 lw 1.5 lc rgb 0x222222 title "kinds of steps in whole networks"
