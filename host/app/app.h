/* app.h -- the tool's own vocabulary: subcommands, options every subcommand has, and small things several of them do.
 * Options are popt tables: the table that parses is the table --help prints. */
#ifndef LDM_APP_H
#define LDM_APP_H

#include "base/base.h"
#include "cl/cl.h"
#include "plan/plan.h"
#include <popt.h>

/* One subcommand. argv[0] is "ldm NAME"; its status becomes the exit status, its sentence is printed by main. */
typedef struct app_command {
    const char *name, *usage, *summary;
    ldm_status (*run)(const struct app_command *self, int argc, const char **argv);
} app_command;

#define APP_COMMAND(name) ldm_status cmd_##name(const app_command *self, int argc, const char **argv)
APP_COMMAND(devices);
APP_COMMAND(info);
APP_COMMAND(convert);
APP_COMMAND(plan);
APP_COMMAND(encode);
APP_COMMAND(decode);
APP_COMMAND(roundtrip);
APP_COMMAND(run);
APP_COMMAND(op);
APP_COMMAND(diff);
APP_COMMAND(gen);
APP_COMMAND(sample);
APP_COMMAND(verify);
APP_COMMAND(selftest);
APP_COMMAND(bench);
APP_COMMAND(ablate);
APP_COMMAND(tune);
APP_COMMAND(eval);
APP_COMMAND(sheet);
APP_COMMAND(tokenize);

/* ---- options -------------------------------------------------------------------------------------------------------
 */

typedef struct app_device_options {
    char *device, *max_memory;
    int cores;      /* of a CPU, how many compute units to use; 0: all */
    int exact;      /* only algorithms that lose no accuracy */
    int low_memory; /* weights as the checkpoint has them */
    bool once;      /* not an option: what is opened runs once */
    int no_tuned;   /* defaults only */
    int vector_width;
    bool profile; /* event timing: set by the subcommands that report times per step */
} app_device_options;
extern app_device_options app_device;
extern struct poptOption app_device_table[], app_quiet_table[];
#define APP_DEVICE                                                                                                     \
    { NULL, 0, POPT_ARG_INCLUDE_TABLE, app_device_table, 0, "Device:", NULL }
#define APP_END {NULL, 0, POPT_ARG_INCLUDE_TABLE, app_quiet_table, 0, "General:", NULL}, POPT_AUTOHELP POPT_TABLEEND

/* Parses argv against `table`; left-over words go to *words (NULL-terminated, owned by *ctx), at least `min` and at
 * most `max` of them. The caller frees *ctx with poptFreeContext, also after a failure. */
ldm_status app_parse(const app_command *self, const struct poptOption *table, int argc, const char **argv, int min,
                     int max, const char ***words, poptContext *ctx);

void app_free_list(char **list); /* what POPT_ARG_ARGV gathered, which popt leaves to us; accepts NULL */
enum { APP_UNSET = -1000000 }; /* of numbers that were not given */
/* The size an option gives: 0 where it is not given, which is the network's own; else 1 or more. */
ldm_status app_size_given(const char *option, int value, int64_t *out);
ldm_status app_parse_size(const char *text, const char *what, size_t *out); /* "6G", "512M", bytes */
/* The device named by the options, with the tuning database unless --no-tuned; runs the self-test, on defaults, the first time
 * a device + driver is seen. */
ldm_status app_open_device(ldm_cl **out);
ldm_status app_open_untested(ldm_cl **out); /* the same without the self-test: for what judges the device itself, or runs nothing */

/* `ldm info` of a picture: *picture says whether it is a PNG; its size and texts are added to `out`. */
ldm_status app_picture_info(const char *path, ldm_text *out, bool *picture);

/* A note where a picture, which is written as PNG, is named as another kind. */
void app_note_name(const char *path);

/* Notes on what of a prompt was cut, and that parentheses are no weights; nothing where neither is so. */
struct ldm_tokenized;
void app_prompt_notes(const char *prompt, const struct ldm_tokenized *info);

/* ---- self-test ------------------------------------------------------------------------------------------------------
 */

enum { APP_SELFTEST_VERSION = 1 }; /* of the cached verdict */
/* One small case per kernel class against constants; `out` [opt] gets a line each. */
ldm_status app_selftest(ldm_cl *cl, ldm_text *out);
ldm_status app_selftest_constants(void); /* prints selftest_table.h, computed by the references */

#endif
