/* cmd_eval.c -- `ldm eval`: two folders of pictures against each other; a folder of pictures as the .npz that FID tools read. */
#include "app/app.h"
#include "io/io.h"
#include <dirent.h>
#include <errno.h>
#include <jansson.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

typedef struct names {
    char **name;
    int count;
} names;

static void names_free(names *n) {
    for (int i = 0; i < n->count; i++) free(n->name[i]);
    free(n->name);
}

static int by_number(const void *a, const void *b) { return strverscmp(*(char *const *)a, *(char *const *)b); }

static bool is_picture(const char *name) {
    const char *dot = strrchr(name, '.');
    return dot && name[0] != '.' && (!strcasecmp(dot, ".png") || !strcasecmp(dot, ".jpg") || !strcasecmp(dot, ".jpeg"));
}

/* The pictures of a folder, x-2 before x-10. */
static ldm_status list(const char *folder, names *out) {
    ldm_status st = LDM_OK;
    names n = {0};
    DIR *d = opendir(folder);
    if (!d) return ldm_fail(LDM_ERR_FORMAT, "%s: folder cannot be opened: %s", folder, strerror(errno));
    for (struct dirent *f; (f = readdir(d));) {
        if (!is_picture(f->d_name)) continue;
        char **more = realloc(n.name, (size_t)(n.count + 1) * sizeof *more);
        if (more) n.name = more;
        if (!more || !(n.name[n.count] = strdup(f->d_name)))
            TRY(ldm_fail(LDM_ERR_NOMEM, "%s: host memory for its names is not there", folder));
        n.count++;
    }
    if (!n.count) TRY(ldm_fail(LDM_ERR_FORMAT, "%s: no .png or .jpg picture in it", folder));
    qsort(n.name, (size_t)n.count, sizeof *n.name, by_number);
    *out = n, n = (names){0};
done:
    names_free(&n);
    closedir(d);
    return st;
}

static ldm_status read_one(const char *folder, const char *name, ldm_image *im) {
    char path[4400];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return ldm_picture_read(path, im);
}

/* The same names in both, else the first that lacks its twin. */
static ldm_status match(const char *a, const names *na, const char *b, const names *nb) {
    int i = 0;
    while (i < na->count && i < nb->count && !strcmp(na->name[i], nb->name[i])) i++;
    if (i == na->count && i == nb->count) return LDM_OK;
    bool first = i < na->count && (i == nb->count || strverscmp(na->name[i], nb->name[i]) < 0);
    return ldm_fail(LDM_ERR_FORMAT, "%s/%s: has no picture of this name in %s", first ? a : b,
                    first ? na->name[i] : nb->name[i], first ? b : a);
}

static json_t *as_json(const char *name, const ldm_likeness *l) {
    json_t *o = json_object();
    if (name) json_object_set_new(o, "name", json_string(name));
    json_object_set_new(o, "psnr", isfinite(l->psnr) ? json_real(l->psnr) : json_null());
    json_object_set_new(o, "ssim", json_real(l->ssim));
    if (name) json_object_set_new(o, "worst", json_integer(l->worst));
    json_object_set_new(o, "differing", json_real(l->differing));
    return o;
}

static ldm_status compare(const char *a, const char *b, bool json) {
    ldm_status st = LDM_OK;
    names na = {0}, nb = {0};
    ldm_image ia = {0}, ib = {0};
    ldm_likeness l, sum = {0};
    ldm_progress bar = {0};
    int equal = 0;
    json_t *root = json_object(), *all = json_array();
    char *text = NULL;
    TRY(list(a, &na));
    TRY(list(b, &nb));
    TRY(match(a, &na, b, &nb));
    ldm_progress_begin(&bar, "comparing", "pictures", na.count);
    if (!json) printf("%8s  %7s  %5s  %9s  picture\n", "PSNR, dB", "SSIM", "worst", "differing");
    for (int i = 0; i < na.count; i++) {
        TRY(read_one(a, na.name[i], &ia));
        TRY(read_one(b, nb.name[i], &ib));
        TRY(ldm_prefix(ldm_image_compare(&ia, &ib, &l), "%s", na.name[i]));
        TRY(ldm_check_interrupt());
        ldm_image_free(&ia), ldm_image_free(&ib);
        if (isfinite(l.psnr)) sum.psnr += l.psnr;
        else equal++;
        sum.ssim += l.ssim, sum.differing += l.differing;
        ldm_progress_to(&bar, i + 1);
        if (json) json_array_append_new(all, as_json(na.name[i], &l));
        else printf("%8.3f  %7.5f  %5d  %8.3f%%  %s\n", l.psnr, l.ssim, l.worst, 100 * l.differing, na.name[i]);
    }
    ldm_progress_end(&bar);
    sum.psnr = equal < na.count ? sum.psnr / (na.count - equal) : INFINITY;
    sum.ssim /= na.count, sum.differing /= na.count;
    if (json) {
        json_object_set(root, "pictures", all);
        json_object_set_new(root, "equal", json_integer(equal));
        json_object_set_new(root, "mean", as_json(NULL, &sum));
        if (!(text = json_dumps(root, JSON_INDENT(1) | JSON_REAL_PRECISION(10))))
            TRY(ldm_fail(LDM_ERR_NOMEM, "host memory for the result is not there"));
        printf("%s\n", text);
    } else {
        printf("%8.3f  %7.5f  %5s  %8.3f%%  mean of %d pictures", sum.psnr, sum.ssim, "", 100 * sum.differing, na.count);
        if (equal) printf("; PSNR of those %d that are not equal", na.count - equal);
        printf("\n");
    }
done:
    ldm_progress_end(&bar);
    ldm_image_free(&ia), ldm_image_free(&ib);
    names_free(&na), names_free(&nb);
    json_decref(root), json_decref(all), free(text);
    return st;
}

/* N pictures of one size as uint8 [N,h,w,3], "arr_0". */
static ldm_status pack(const char *folder, const char *path) {
    ldm_status st = LDM_OK;
    names n = {0};
    ldm_image im = {0};
    ldm_npz *z = NULL;
    ldm_progress bar = {0};
    int64_t w = 0, h = 0;
    TRY(list(folder, &n));
    ldm_progress_begin(&bar, "packing", "pictures", n.count);
    for (int i = 0; i < n.count; i++) {
        TRY(read_one(folder, n.name[i], &im));
        TRY(ldm_check_interrupt());
        if (!z) {
            w = im.w, h = im.h;
            ldm_shape s = ldm_shape_of(4, (int64_t)n.count, h, w, (int64_t)3);
            TRY(ldm_npz_create(path, "arr_0", LDM_U8, &s, &z));
        }
        if (im.w != w || im.h != h)
            TRY(ldm_fail(LDM_ERR_FORMAT, "%s/%s: %lld x %lld, but the pictures before it are %lld x %lld", folder, n.name[i],
                         (long long)im.w, (long long)im.h, (long long)w, (long long)h));
        TRY(ldm_npz_write(z, im.data, (size_t)(w * h * 3)));
        ldm_image_free(&im);
        ldm_progress_to(&bar, i + 1);
    }
    TRY(ldm_npz_commit(z));
    printf("%s: %d pictures of %lld x %lld\n", path, n.count, (long long)w, (long long)h);
done:
    ldm_progress_end(&bar);
    ldm_npz_destroy(z);
    ldm_image_free(&im);
    names_free(&n);
    return st;
}

APP_COMMAND(eval) {
    char *npz = NULL;
    int json = 0;
    struct poptOption table[] = {
        {"npz", 0, POPT_ARG_STRING, &npz, 0,
         "instead: write the pictures of one folder, ordered by name, as uint8 [N, height, width, 3] \"arr_0\"", "FILE.npz"},
        {"json", 0, POPT_ARG_NONE, &json, 0, "the result as JSON (an infinite PSNR is null)", NULL},
        APP_END};
    const char **words;
    poptContext ctx;
    ldm_status st = LDM_OK;
    TRY(app_parse(self, table, argc, argv, 1, 2, &words, &ctx));
    if (npz ? words[1] != NULL : !words[1])
        TRY(ldm_fail(LDM_ERR_ARG, "%s; usage: ldm eval %s", npz ? "--npz takes one folder" : "two folders are compared", self->usage));
    TRY(npz ? pack(words[0], npz) : compare(words[0], words[1], json));
done:
    free(npz);
    poptFreeContext(ctx);
    return st;
}
