/* test_record.c -- results files and the measured peak: the header names machine, device, commit and command; the peak is
 * plausible, and measured once a process. */
#include "app/record.h"
#include "test.h"
#include <math.h>
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
