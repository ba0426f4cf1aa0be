/* main.c -- `ldm`: subcommands and exit statuses. Prints the sentence of a failure; nobody else does. */
#include "app/app.h"
#include <errno.h>
#include <string.h>

#ifndef LDM_VERSION
#define LDM_VERSION "0.1"
#endif

static const app_command commands[] = {
    {"devices", "[--why PROBLEM]", "list devices, or say which implementation of an op runs and why", cmd_devices},
    {"info", "FILE", "say what a checkpoint is", cmd_info},
    {"convert", "IN OUT", "write a checkpoint in another layout or dtype", cmd_convert},
    {"plan", "NET", "print a network as a table of steps", cmd_plan},
    {"encode", "-i IN.png -o OUT.npy", "picture to latent", cmd_encode},
    {"decode", "-i IN.npy -o OUT.png", "latent to picture", cmd_decode},
    {"roundtrip", "-i IN.png -o OUT.png", "encode and decode a picture, print PSNR and time", cmd_roundtrip},
    {"run", "NET --in NAME=FILE.npy --out FILE.npy", "evaluate one network once, in PyTorch's layouts", cmd_run},
    {"op", "PROBLEM", "run one op and judge it: the repro line of every failure", cmd_op},
    {"diff", "A.npy B.npy", "compare two arrays", cmd_diff},
    {"gen", "-m MODEL -p PROMPT", "make pictures from a prompt, a class, a layout, a map or another picture", cmd_gen},
    {"sample", "CONFIG -o OUT.png", "the same, by the name of a configuration", cmd_sample},
    {"verify", "[CONFIG]", "a network, or every op, kernels against references, step by step", cmd_verify},
    {"selftest", "", "one small case per kernel class against constants", cmd_selftest},
    {"bench", "[OPTIONS] [SHAPES.txt ...]", "time ops and networks, compare with before, hold against what the machine can do", cmd_bench},
    {"tune", "[NET]", "search the fastest implementation and parameters of each problem of a network", cmd_tune},
    {"eval", "A/ B/ | FOLDER --npz FILE.npz", "PSNR and SSIM between two folders of pictures; a folder as FID tools read it", cmd_eval},
    {"tokenize", "[--clip|--openclip|--bert|-m FOLDER] PROMPT ...", "what a text encoder is given of a prompt: tokens and ids", cmd_tokenize},
    {"sheet", "-o OUT.png PICTURE...", "pictures of one size side by side on one", cmd_sheet},
    {"ablate", "[-o FILE.json]", "the compression ablation f = 1 ... 32", cmd_ablate},
};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void usage(FILE *f) {
    fprintf(f,
            "ldm %s -- latent diffusion on any OpenCL device\n\nusage: ldm COMMAND [OPTIONS]; ldm COMMAND --help\n\n",
            LDM_VERSION);
    for (int i = 0; i < COMMANDS; i++) fprintf(f, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(f, "\nexit status: 0 done, 1 usage, 2 input file, 3 device, 4 non-finite result, 5 output, 6 memory, "
               "130/143 interrupted\n");
}

/* The status of a command whose output is all written. */
static int end(const char *name, ldm_status st) {
    if (!st && (fflush(stdout) || ferror(stdout))) st = ldm_fail(LDM_ERR_IO, "standard output: %s", strerror(errno));
    if (st) fprintf(stderr, "ldm %s: %s\n", name, ldm_message());
    return ldm_exit_status(st);
}

int main(int argc, char **argv) {
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (argc < 2) return usage(stderr), 1;
    const char *name = argv[1];
    if (!strcmp(name, "--help") || !strcmp(name, "-h") || !strcmp(name, "-?") || !strcmp(name, "help"))
        return usage(stdout), end("--help", LDM_OK);
    if (!strcmp(name, "--version")) return printf("ldm %s\n", LDM_VERSION), end(name, LDM_OK);
    for (int i = 0; i < COMMANDS; i++) {
        if (strcmp(commands[i].name, name)) continue;
        char title[64];
        snprintf(title, sizeof title, "ldm %s", name);
        argv[1] = title;
        ldm_catch_signals();
        return end(name, commands[i].run(&commands[i], argc - 1, (const char **)argv + 1));
    }
    fprintf(stderr, "ldm: no command '%s'; `ldm --help` lists them\n", name);
    return 1;
}
