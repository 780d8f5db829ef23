/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "gss/testkdc.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/proc.h"

enum { COMMAND_S = 240 };

char testkdc_dir[] = "/tmp/vr-test-kdc-XXXXXX";
static pid_t kdc;
static const char *source;

void testkdc_shell(const char *fmt, ...)
{
    char cmd[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    const char *argv[] = { "sh", "-c", cmd, NULL };
    struct vr_err e = VR_ERR_INIT;
    if (vr_proc_run(argv, COMMAND_S, NULL, &e))
        fail_msg("%s: %s", cmd, e.msg);
}

/* It dies with us, whatever happens. */
void testkdc_again(void)
{
    vr_autofree char *script = vr_printf("%s/tests/lab/kdc.sh", source);
    kdc = fork();
    assert_true(kdc >= 0);
    if (!kdc) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        execl(script, script, "run", testkdc_dir, NULL);
        _exit(127);
    }
    testkdc_shell("%s wait %s", script, testkdc_dir);
}

void testkdc_stop(void)
{
    kill(kdc, SIGTERM);
    assert_int_equal(waitpid(kdc, NULL, 0), kdc);
}

bool testkdc_missing(void)
{
    if (access("/usr/sbin/krb5kdc", X_OK) == 0)
        return false;
    puts("krb5kdc is not installed");
    return true;
}

void testkdc_up(const char *tree)
{
    source = tree;
    assert_non_null(mkdtemp(testkdc_dir));
    testkdc_shell("%s/tests/lab/kdc.sh prepare %s", source, testkdc_dir);
    testkdc_again();
}

void testkdc_down(void)
{
    testkdc_stop();
    testkdc_shell("rm -rf %s", testkdc_dir);
}

void testkdc_become(const char *cache, const char *conf)
{
    vr_autofree char *cc = vr_printf("FILE:%s/%s.cc", testkdc_dir, cache ? cache : "nobody");
    vr_autofree char *cf = vr_printf("%s/%s", testkdc_dir, conf);
    setenv("KRB5CCNAME", cc, 1);
    setenv("KRB5_CONFIG", cf, 1);
}
