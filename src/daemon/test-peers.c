/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is written of a peer is what the host knows, whoever writes at the same time. The threads of
 * the daemon are played by one: what is posted to the store's waits until it is its turn. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/testing.h"
#include "daemon/daemon.h"
#include "store/testdisk.h"

static struct task *posted[16];
static size_t n_posted;
static void (*meanwhile)(struct daemon *d);

void ctl_call(struct daemon *d, void (*fn)(void *arg), void *arg)
{
    (void)d;
    fn(arg);
}

static void run_posted(void)
{
    for (size_t i = 0; i < n_posted; i++) {
        posted[i]->work(posted[i]);
        posted[i]->done(posted[i]);
        free(posted[i]);
    }
    n_posted = 0;
}

void task_run(struct daemon *d, struct vr_exec *x, struct task *t)
{
    (void)x;
    t->d = d;
    assert_true(n_posted < VR_ARRAY_LEN(posted));
    posted[n_posted++] = t;
}

void store_call(struct daemon *d, void (*fn)(void *arg), void *arg)
{
    void (*act)(struct daemon *) = meanwhile;
    meanwhile = NULL;
    fn(arg);
    if (act)
        act(d);
}

void host_peers_changed(struct daemon *d)
{
    (void)d;
}

static struct xport_peer peer_with(char c)
{
    struct xport_peer p = { .port = 7000 };
    snprintf(p.name, sizeof p.name, "hostb");
    snprintf(p.address, sizeof p.address, "192.0.2.2");
    memset(p.thumb, c, 64);
    return p;
}

static void is_written(struct daemon *d, char c)
{
    vr_autofree char *text = NULL;
    struct xport_peer p = peer_with(c);
    run_posted();
    ok(store_doc_get(d->store, "peer", "hostb", &text, err));
    assert_non_null(strstr(text, p.thumb));
}

/* A relationship by Kerberos with the same host is looked at. */
static void note(struct daemon *d)
{
    struct xport_peer p;
    struct rel r = { .set.auth_type = 1 };
    snprintf(r.peer, sizeof r.peer, "hostb");
    ok(peer_of_rel(d, &r, &p, err));
}

static void test_a_note_while_pairing(void **state)
{
    struct daemon *d = *state;
    struct xport_peer a = peer_with('a');
    meanwhile = note;
    ok(host_peer_store(d, &a, err));
    is_written(d, 'a');
}

static void pair_again(struct daemon *d)
{
    struct xport_peer b = peer_with('b');
    ok(host_peer_store(d, &b, err));
}

static void pair_within(struct daemon *d)
{
    struct xport_peer c = peer_with('c');
    meanwhile = pair_again; /* it is written later, and known before */
    ok(host_peer_store(d, &c, err));
}

static void test_two_pairings(void **state)
{
    struct daemon *d = *state;
    struct xport_peer a = peer_with('a');
    meanwhile = pair_within;
    ok(host_peer_store(d, &a, err));
    is_written(d, 'a'); /* known last */
    assert_string_equal(d->peers[0].thumb, a.thumb);
}

static char dir[TD_DIR];

static int setup(void **state)
{
    struct daemon *d = vr_new(struct daemon);
    static const struct engine_env env;
    td_setup(dir, &d->store);
    d->engine = engine_new(&env);
    *state = d;
    return 0;
}

static int teardown(void **state)
{
    struct daemon *d = *state;
    engine_free(d->engine);
    td_teardown(dir, d->store);
    free(d->peers);
    free(d);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_a_note_while_pairing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_two_pairings, setup, teardown)
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
