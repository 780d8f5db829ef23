/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cutting. Two kinds of end: the process dies (all that was written is there), or power is lost:
 * then what was not synced is gone. The second is played at its worst: files whose folder was not
 * synced since they were made do not exist, files that were not synced are empty, and files that
 * were removed from a folder that was not synced since are back. The database does its own syncing
 * and is copied as it is. */
#include "cut.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/proc.h"

struct made {
    char *path;
    bool synced, named;
};
struct removed {
    char *path, *grave;
};

static struct {
    struct cut_config cfg;
    struct made *made;
    size_t n_made;
    struct removed *removed;
    size_t n_removed, graves;
    size_t count, cuts, failed;
    unsigned random;
} g;

static bool chosen(void)
{
    g.random = g.random * 1103515245u + 12345u;
    return g.cfg.one_in && (g.random >> 16) % g.cfg.one_in == 0;
}

static void lose(void)
{
    for (size_t i = 0; i < g.n_made; i++) {
        struct made *m = &g.made[i];
        if (!m->named)
            unlink(m->path);
        else if (!m->synced && truncate(m->path, 0) < 0)
            perror(m->path);
    }
    for (size_t i = 0; i < g.n_removed; i++) {
        vr_autofree char *copy = vr_strdup(g.removed[i].path);
        char *slash = strrchr(copy, '/');
        *slash = 0;
        /* Across the mount: no hard link. */
        const char *argv[] = { "cp", "-a", "-n", g.removed[i].grave, g.removed[i].path, NULL };
        if (access(copy, F_OK) == 0)
            vr_proc_run(argv, 30, NULL, NULL);
    }
}

__attribute__((noreturn)) static void end_of_the_world(bool power, const char *what)
{
    struct vr_err e = VR_ERR_INIT;
    vr_autofree char *copy = vr_printf("%s/copy", g.cfg.spare);
    const char *rm[] = { "rm", "-rf", copy, NULL };
    const char *cp[] = { "cp", "-a", g.cfg.work, copy, NULL };
    if (vr_proc_run(rm, 30, NULL, &e) < 0 || vr_proc_run(cp, 30, NULL, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        _exit(3);
    }
    if (unshare(CLONE_NEWNS) < 0 || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount(copy, g.cfg.work, NULL, MS_BIND, NULL) < 0) {
        perror("mount");
        _exit(3);
    }
    if (power)
        lose();
    int rc = g.cfg.check(g.cfg.ctx);
    if (rc)
        fprintf(stderr, "CUT %zu (%s, %s): failed\n", g.count, what, power ? "power" : "process");
    _exit(rc ? 1 : 0);
}

static void cut(bool power, const char *what)
{
    g.cuts++;
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0)
        end_of_the_world(power, what);
    int status = 0;
    waitpid(pid, &status, 0);
    if (!WIFEXITED(status) || WEXITSTATUS(status)) {
        if (!WIFEXITED(status))
            fprintf(stderr, "CUT %zu (%s, %s): died\n", g.count, what, power ? "power" : "process");
        g.failed++;
    }
}

void cut_here(const char *what)
{
    const char *only = getenv("VMR_CRASH_ONLY");
    g.count++;
    if (only) {
        if (strtoul(only, NULL, 10) == g.count) {
            cut(false, what);
            cut(true, what);
        }
        return;
    }
    if (chosen())
        cut(false, what);
    if (chosen())
        cut(true, what);
}

/* ---- recording ---- */

static void forget_made(size_t i)
{
    free(g.made[i].path);
    g.made[i] = g.made[--g.n_made];
}

static void note_made(const char *path)
{
    g.made = vr_grow(g.made, g.n_made + 1, sizeof *g.made);
    g.made[g.n_made++] = (struct made){ .path = vr_strdup(path) };
}

static bool lies_in(const char *path, const char *dir)
{
    size_t n = strlen(dir);
    return !strncmp(path, dir, n) && path[n] == '/' && !strchr(path + n + 1, '/');
}

static int rec_mkdir(const struct fsops *fs, const char *path, unsigned mode, struct vr_err *err)
{
    cut_here("mkdir");
    return fsops_real()->mkdir(fs, path, mode, err);
}

static int rec_sync_file(const struct fsops *fs, const char *path, struct vr_err *err)
{
    cut_here("sync file");
    int rc = fsops_real()->sync_file(fs, path, err);
    for (size_t i = 0; rc == 0 && i < g.n_made; i++)
        if (!strcmp(g.made[i].path, path))
            g.made[i].synced = true;
    return rc;
}

static int rec_sync_dir(const struct fsops *fs, const char *path, struct vr_err *err)
{
    cut_here("sync folder");
    int rc = fsops_real()->sync_dir(fs, path, err);
    for (size_t i = 0; rc == 0 && i < g.n_made; i++)
        if (lies_in(g.made[i].path, path))
            g.made[i].named = true;
    for (size_t i = g.n_made; i-- > 0;)
        if (g.made[i].named && g.made[i].synced)
            forget_made(i);
    for (size_t i = g.n_removed; rc == 0 && i-- > 0;)
        if (lies_in(g.removed[i].path, path)) {
            unlink(g.removed[i].grave);
            free(g.removed[i].path);
            free(g.removed[i].grave);
            g.removed[i] = g.removed[--g.n_removed];
        }
    return rc;
}

static int rec_unlink(const struct fsops *fs, const char *path, struct vr_err *err)
{
    cut_here("unlink");
    for (size_t i = g.n_made; i-- > 0;)
        if (!strcmp(g.made[i].path, path))
            forget_made(i);
    vr_autofree char *grave = vr_printf("%s/grave-%zu", g.cfg.spare, g.graves);
    if (link(path, grave) == 0) {
        g.graves++;
        g.removed = vr_grow(g.removed, g.n_removed + 1, sizeof *g.removed);
        g.removed[g.n_removed++] = (struct removed){ vr_strdup(path), vr_take(grave) };
    }
    return fsops_real()->unlink(fs, path, err);
}

static int rec_run(const struct fsops *fs, const char *const argv[], int lock_fd,
                   const atomic_bool *cancel, struct vr_err *err)
{
    vr_autofree char *what = vr_printf("%s %s", argv[0], argv[1]);
    cut_here(what);
    int rc = fsops_real()->run(fs, argv, lock_fd, cancel, err);
    size_t n = 0;
    while (argv[n])
        n++;
    if (!strcmp(argv[1], "create") && n >= 2)
        note_made(argv[n - 2]);
    return rc;
}

static void rec_note(const struct fsops *fs, const char *what)
{
    cut_here(what);
}

const struct fsops *cut_begin(const struct cut_config *cfg)
{
    static const struct fsops rec = {
        .mkdir = rec_mkdir,
        .sync_file = rec_sync_file,
        .sync_dir = rec_sync_dir,
        .unlink = rec_unlink,
        .run = rec_run,
        .note = rec_note,
    };
    g.cfg = *cfg;
    g.random = cfg->seed;
    return &rec;
}

void cut_every(unsigned one_in)
{
    g.cfg.one_in = one_in;
}

size_t cut_count(void)
{
    return g.count;
}

size_t cut_made(void)
{
    return g.cuts;
}

size_t cut_failed(void)
{
    return g.failed;
}
