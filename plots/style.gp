# style.gp -- what all pictures share. Expects size_x, size_y and `out`.
set terminal pngcairo size size_x, size_y font "DejaVu Sans,11" noenhanced background "white"
set output out
blue = 0x0b6aa8; orange = 0xd1541b; green = 0x2a8c4a; ochre = 0xb08d18; purple = 0x8a4fb0; grey = 0x8a8a8a
array colour[6] = [blue, orange, green, ochre, purple, grey]
array shape[6] = [7, 5, 9, 13, 11, 4]
set style line 1 lc rgb blue lw 2.5 pt 7 ps 1.3
set style line 2 lc rgb orange lw 2 pt 5 ps 1.1
set style line 3 lc rgb grey lw 2 pt 9 ps 1.2 dt 2
set style line 9 lc rgb 0xdddddd lw 0.7
ink = 0x555555
set border 3 lc rgb ink
set tics nomirror
set grid back ls 9
