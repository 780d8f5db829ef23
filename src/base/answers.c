/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding out whether a storage answers. */
#include "base/answers.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/cleanup.h"
#include "base/clock.h"

void vr_touch_folder(const char *folder)
{
    struct stat sb;
    if (stat(folder, &sb) < 0) /* a server is asked by this */
        return;
    /* A frozen file system can be read: only a write tells. */
    vr_autoclose int fd = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0) /* not known on NFS */
        fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    else if (write(fd, "alive\n", 6) < 0)
        return;
    if (fd >= 0)
        (void)fsync(fd); /* what it says is no matter, only when */
}

struct touch {
    pthread_mutex_t lock;
    pthread_cond_t over;
    char *folder;
    bool done, left;
};

static void touch_free(struct touch *t)
{
    pthread_cond_destroy(&t->over);
    pthread_mutex_destroy(&t->lock);
    free(t->folder);
    free(t);
}

static void *touch_run(void *arg)
{
    struct touch *t = arg;
    vr_touch_folder(t->folder);
    pthread_mutex_lock(&t->lock);
    t->done = true;
    bool left = t->left;
    pthread_cond_signal(&t->over);
    pthread_mutex_unlock(&t->lock);
    if (left)
        touch_free(t);
    return NULL;
}

bool vr_folder_answers(const char *folder, int ms)
{
    struct touch *t = vr_new(struct touch);
    pthread_condattr_t a;
    pthread_t tid;
    sigset_t all, old;
    pthread_condattr_init(&a);
    pthread_condattr_setclock(&a, CLOCK_MONOTONIC);
    pthread_mutex_init(&t->lock, NULL);
    pthread_cond_init(&t->over, &a);
    pthread_condattr_destroy(&a);
    t->folder = vr_strdup(folder);
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    if (pthread_create(&tid, NULL, touch_run, t))
        abort();
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    pthread_detach(tid);
    int64_t end = vr_mono_now().ms + ms;
    struct timespec until = { .tv_sec = end / 1000, .tv_nsec = end % 1000 * 1000000 };
    int rc = 0;
    pthread_mutex_lock(&t->lock);
    while (!t->done && rc == 0)
        rc = pthread_cond_timedwait(&t->over, &t->lock, &until);
    bool done = t->done;
    t->left = !done;
    pthread_mutex_unlock(&t->lock);
    if (done)
        touch_free(t);
    return done;
}
