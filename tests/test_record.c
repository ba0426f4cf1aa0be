/* test_record.c -- results files and the measured peak: the header names machine, device, commit and command; the peak is
 * plausible, and measured once a process; floors by hand; other processes' load is seen. */
#include "app/record.h"
#include "test.h"
#include <math.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    char path[] = "/tmp/ldm-record-XXXXXX", name[300];
    ldm_cl *cl = NULL;
    ldm_peak peak, again;
    test_begin(argc, argv, "record");
    CASE("measured peak") {
        CHECK_OK(ldm_cl_open(NULL, &cl));
        CHECK_OK(ldm_measure_peak(cl, &peak));
        CHECK(peak.gflops > 0.5 && peak.gflops < 1e6, "%g GFLOP/s", peak.gflops);
        CHECK(peak.read_gbs > 0.5 && peak.copy_gbs > 0.5 && peak.triad_gbs > 0.5, "%g %g %g GB/s", peak.read_gbs, peak.copy_gbs, peak.triad_gbs);
        double start = ldm_now();
        CHECK_OK(ldm_measure_peak(cl, &again));
        CHECK(ldm_now() - start < 0.01 && again.gflops == peak.gflops, "measured again");
        /* 100 flops and no bytes, then no flops and 100 bytes: each limit on its own */
        CHECK(fabs(ldm_peak_limit(&peak, 100, 0) - 100 / (peak.gflops * 1e9)) < 1e-12, "compute limit");
        CHECK(ldm_peak_limit(&peak, 1, 1e12) == 1e12 / (ldm_peak_gbs(&peak) * 1e9), "memory limit");
    }
    CASE("floor") { /* by hand: 16 tiles of F(4x4,3x3) */
        ldm_problem p;
        ldm_cost cost = {0};
        const ldm_impl *best = NULL;
        const ldm_peak slow = {.gflops = 1, .read_gbs = 1e6};
        CHECK_OK(cl ? LDM_OK : ldm_cl_open(NULL, &cl));
        ldm_device d = *ldm_cl_device(cl);
        CHECK_OK(ldm_problem_parse("conv2d n=1 c=64 h=16 w=16 k=96 r=3 s=3 pt=1 pb=1 pl=1 pr=1", &p));
        const double direct = 2.0 * 256 * 96 * 64 * 9, turned = 16.0 * (2 * 36 * 64 * 96 + 264 * 64 + 160 * 96);
        double floor = ldm_peak_floor(&slow, &p, &d, &best, &cost);
        const char *turn = d.type == LDM_DEVICE_CPU ? "conv2d_winograd" : "conv2d_winograd_gpu";
        CHECK(best && !strcmp(best->name, turn), "%s", best ? best->name : "no row");
        CHECK(cost.flops == turned && fabs(floor - turned * 1e-9) < 1e-15, "%g operations, %g s", cost.flops, floor);
        CHECK(cost.bytes >= 4 * (256.0 * (64 + 96) + 36 * 64 * 96), "%g bytes do not hold the turned filters", cost.bytes);
        d.exact = true;
        floor = ldm_peak_floor(&slow, &p, &d, &best, &cost);
        CHECK(cost.flops == direct && fabs(floor - direct * 1e-9) < 1e-15, "exact: %g operations, %g s", cost.flops, floor);
        /* one pixel: all is filters, and F(4x4)'s are the larger ones */
        const ldm_peak narrow = {.gflops = 1e6, .read_gbs = 1};
        d.exact = false;
        CHECK_OK(ldm_problem_parse("conv2d n=1 c=64 h=1 w=1 k=96 r=3 s=3 pt=1 pb=1 pl=1 pr=1", &p));
        floor = ldm_peak_floor(&narrow, &p, &d, &best, &cost);
        CHECK(strcmp(best->name, turn) && fabs(floor / (p.op->cost(&p).bytes * 1e-9) - 1) < 1e-9, "%s, %g s", best->name, floor);
    }
    CASE("an empty launch") {
        double seconds = 0;
        CHECK_OK(cl ? LDM_OK : ldm_cl_open(NULL, &cl));
        CHECK_OK(ldm_measure_launch(cl, &seconds));
        CHECK(seconds > 0 && seconds < 0.01, "%g s", seconds);
    }
    CASE("other load") { /* ours does not count, another process's does */
        ldm_load l;
        int cores = (int)sysconf(_SC_NPROCESSORS_ONLN);
        volatile double x = 1;
        ldm_load_begin(&l);
        CHECK(l.busy >= 0 && l.own > 0, "no figures: %g busy, %g own", l.busy, l.own);
        for (double start = ldm_now(); ldm_now() - start < 0.5;) x = x * 0.5 + 1;
        const double quiet = ldm_load_other(&l);
        CHECK(quiet >= 0 && quiet <= 1, "%g", quiet);
        pid_t child = fork();
        if (child == 0) {
            for (double start = ldm_now(); ldm_now() - start < 1;) x = x * 0.5 + 1;
            usleep(2000000);
            _exit(0);
        }
        ldm_load_begin(&l);
        usleep(800000);
        const double loud = ldm_load_other(&l);
        CHECK(loud > 0.5 / cores, "a process that keeps one of %d processors busy is seen as %.2f of all", cores, loud);
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
    }
    CASE("header and file") {
        char *args[] = {"/some/where/ldm", "bench", "--op", "conv2d"};
        CHECK(mkdtemp(path) != NULL, "no temporary folder");
        CHECK_OK(cl ? LDM_OK : ldm_cl_open(NULL, &cl));
        json_t *h = ldm_record_header(ldm_cl_device(cl), NULL, 4, args), *root = json_pack("{s:o}", "header", h), *back;
        snprintf(name, sizeof name, "%s/new/folder/x.json", path);
        CHECK_OK(ldm_record_write(name, root));
        back = json_load_file(name, 0, NULL);
        CHECK(back && json_equal(json_object_get(json_object_get(back, "header"), "device"), json_object_get(h, "device")), "device read back");
        CHECK(!strcmp(json_string_value(json_object_get(h, "command")), "ldm bench --op conv2d"), "command");
        CHECK(strlen(json_string_value(json_object_get(h, "commit"))) >= 7, "commit '%s'", ldm_commit());
        CHECK(!strcmp(json_string_value(json_object_get(json_object_get(h, "device"), "name")), ldm_cl_device(cl)->name), "device");
        CHECK(json_integer_value(json_object_get(json_object_get(h, "machine"), "cores")) > 0, "cores");
        json_decref(root);
        json_decref(back);
        unlink(name);
        CHECK(ldm_record_write("/proc/no/such.json", NULL) != LDM_OK, "written to /proc");
        ldm_device d = {.name = "NVIDIA H200 (rev. 2)"};
        CHECK(!strncmp(ldm_record_path("results", "bench", &d, name, sizeof name), "results/bench-nvidia-h200-rev-2-20", 34), "%s", name);
    }
    ldm_cl_close(cl);
    return test_end();
}
