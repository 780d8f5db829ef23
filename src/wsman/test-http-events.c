/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pulls that wait for events, through a server process with a UNIX socket: others are answered
 * meanwhile, an event ends the waiting, callers that go away are forgotten, and the server can be
 * stopped at any time. The server's job changes when it gets SIGUSR1; with SIGUSR2 its readers have
 * no role any more. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"
#include "wsman/client.h"
#include "wsman/fake.h"
#include "wsman/http.h"
#include "wsman/ns.h"
#include "wsman/wsm.h"

enum { IDLE_S = 8 };

static char dir[] = "/tmp/vr-test-events-XXXXXX";
static char *sock;
static pid_t server;

/* ---- the server process --------------------------------------------------------------------- */

static enum cim_role role = CIM_ROLE_READER;

static void by_kernel(void *ctx, uint32_t uid, const unsigned *gids, size_t n,
                      struct wsm_identity *ret)
{
    ret->role = role;
}

static int on_term(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    return sd_event_exit(arg, 0);
}

static int on_usr1(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    static unsigned state = 7;
    state = state == 7 ? 4 : 7;
    wsm_fake_job(arg, state);
    return 0;
}

static int on_usr2(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    role = CIM_ROLE_NONE;
    wsm_http_roles_changed(arg);
    return 0;
}

static void serve(int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    vr_log_level(VR_LOG_ERROR);
    sigset_t sigs;
    sigemptyset(&sigs);
    sigaddset(&sigs, SIGTERM);
    sigaddset(&sigs, SIGUSR1);
    sigaddset(&sigs, SIGUSR2);
    sigprocmask(SIG_BLOCK, &sigs, NULL);
    sd_event *ev = NULL;
    struct wsm_http *h = NULL;
    struct vr_err e = VR_ERR_INIT;
    struct cim_server *svc = wsm_fake_server();
    struct wsm *w = wsm_new(svc, NULL);
    const struct wsm_auth auth = { .role_of_local = by_kernel };
    const struct wsm_http_limits lim = { .idle_s = IDLE_S, .request_s = IDLE_S };
    if (sd_event_new(&ev) < 0 || sd_event_add_signal(ev, NULL, SIGTERM, on_term, ev) < 0 ||
        sd_event_add_signal(ev, NULL, SIGUSR1, on_usr1, svc) < 0 ||
        wsm_http_new(ev, w, &auth, &lim, &h, &e) || wsm_http_listen_unix(h, sock, &e) ||
        sd_event_add_signal(ev, NULL, SIGUSR2, on_usr2, h) < 0) {
        fprintf(stderr, "server: %s\n", e.msg);
        _exit(1);
    }
    if (write(report, "x", 1) != 1)
        _exit(1);
    sd_event_loop(ev);
    wsm_http_free(h);
    wsm_free(w);
    cim_server_free(svc);
    sd_event_unref(ev);
    exit(0); /* with the leak check of sanitizers */
}

static int start_server(void **st)
{
    int p[2];
    char c;
    if (pipe(p) || (server = fork()) < 0)
        return -1;
    if (!server)
        serve(p[1]);
    close(p[1]);
    int rc = read(p[0], &c, 1) == 1 ? 0 : -1;
    close(p[0]);
    return rc;
}

static int stop_server(void **st)
{
    int status;
    kill(server, SIGTERM);
    if (waitpid(server, &status, 0) != server)
        return -1;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -1;
}

static void move_job(void)
{
    kill(server, SIGUSR1);
}

/* ---- raw requests --------------------------------------------------------------------------- */

static int open_socket(void)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", sock);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

static void ask(int fd, const char *action, const char *header, const char *body)
{
    vr_autofree char *env = vr_printf(
        "<s:Envelope xmlns:s='" NS_SOAP "' xmlns:a='" NS_ADDR "' xmlns:w='" NS_WSMAN
        "' xmlns:n='" NS_ENUM "' xmlns:e='" NS_EVENTING "'><s:Header><a:Action>%s</a:Action>"
        "<a:MessageID>uuid:1</a:MessageID><w:ResourceURI>" URI_WMI
        "root/virtualization/v2/*</w:ResourceURI>%s</s:Header><s:Body>%s</s:Body></s:Envelope>",
        action, header, body);
    vr_autofree char *all =
        vr_printf("POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Type: application/soap+xml\r\n"
                  "Content-Length: %zu\r\n\r\n%s",
                  strlen(env), env);
    assert_int_equal(send(fd, all, strlen(all), MSG_NOSIGNAL), (ssize_t)strlen(all));
}

static bool is_answered(int fd, int ms)
{
    struct pollfd p = { .fd = fd, .events = POLLIN };
    return poll(&p, 1, ms) > 0;
}

/* The whole answer, header and body; it has to begin within a minute. */
static char *hear(int fd)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    const char *end = NULL;
    size_t want = 0;
    while (!end || b.len < want) {
        char part[4096];
        assert_true(is_answered(fd, 60000));
        ssize_t n = recv(fd, part, sizeof part, 0);
        if (n <= 0)
            break;
        vr_buf_add(&b, part, (size_t)n, NULL);
        const char *len = strcasestr((char *)b.data, "Content-Length:");
        end = strstr((char *)b.data, "\r\n\r\n");
        if (end && len)
            want = (size_t)(end + 4 - (char *)b.data) + strtoul(len + 15, NULL, 10);
    }
    return b.data ? vr_strdup((char *)b.data) : vr_strdup("");
}

static void must_say(const char *text, const char *what)
{
    if (!strstr(text, what))
        fail_msg("\"%s\" is not in: %s", what, text);
}

static char *subscribe(const char *delivery)
{
    vr_autoclose int fd = open_socket();
    vr_autofree char *body =
        vr_printf("<e:Subscribe><e:Delivery Mode='" MODE_PULL
                  "'>%s</e:Delivery><w:Filter Dialect='" DIALECT_WQL
                  "'>SELECT * FROM __InstanceModificationEvent WITHIN 1 WHERE TargetInstance "
                  "ISA 'Msvm_ConcreteJob'</w:Filter></e:Subscribe>",
                  delivery);
    ask(fd, ACT_SUBSCRIBE, "", body);
    vr_autofree char *text = hear(fd);
    char *at = strstr(text, "<n:EnumerationContext>");
    if (!at)
        fail_msg("%s", text);
    at += strlen("<n:EnumerationContext>");
    return vr_strndup(at, strcspn(at, "<"));
}

static void pull(int fd, const char *context, const char *time)
{
    vr_autofree char *body = vr_printf("<n:Pull><n:EnumerationContext>%s</n:EnumerationContext>"
                                       "<n:MaxTime>%s</n:MaxTime><n:MaxElements>10</n:MaxElements>"
                                       "</n:Pull>",
                                       context, time);
    ask(fd, ACT_PULL, "", body);
}

static void others_are_served(void)
{
    vr_autoclose int fd = open_socket();
    ask(fd, ACT_ENUMERATE, "", "<n:Enumerate><w:OptimizeEnumeration/></n:Enumerate>");
    vr_autofree char *text = hear(fd);
    must_say(text, "CannotProcessFilter"); /* "*" needs a filter: an answer, and at once */
}

/* ---- tests ---------------------------------------------------------------------------------- */

static void test_an_event_ends_the_waiting(void **st)
{
    vr_autofree char *context = subscribe("");
    vr_autoclose int fd = open_socket();
    for (int i = 0; i < 3; i++) {
        pull(fd, context, "PT60S");
        others_are_served();
        assert_false(is_answered(fd, 200));
        move_job();
        vr_autofree char *text = hear(fd);
        must_say(text, "HTTP/1.1 200");
        must_say(text, "__InstanceModificationEvent_Type");
        must_say(text, i == 1 ? "<p1:JobState>7<" : "<p1:JobState>4<");
    }
}

/* Who waits and loses its role gets to hear that, and no event. */
static void test_a_role_that_goes_ends_the_waiting(void **st)
{
    vr_autofree char *context = subscribe("");
    vr_autoclose int fd = open_socket();
    pull(fd, context, "PT60S");
    others_are_served();
    kill(server, SIGUSR2);
    vr_autofree char *text = hear(fd);
    must_say(text, "AccessDenied");
    assert_null(strstr(text, "__InstanceModificationEvent_Type"));
    move_job();
    pull(fd, context, "PT60S");
    vr_autofree char *later = hear(fd);
    must_say(later, "AccessDenied");
}

static void test_patience_ends(void **st)
{
    vr_autofree char *context = subscribe("");
    vr_autoclose int fd = open_socket();
    int64_t began = vr_mono_now().ms;
    pull(fd, context, "PT1S");
    vr_autofree char *text = hear(fd);
    must_say(text, "w:TimedOut");
    assert_true(vr_mono_now().ms - began >= 990);
    others_are_served();
    move_job(); /* the subscription is still there */
    pull(fd, context, "PT60S");
    vr_autofree char *later = hear(fd);
    must_say(later, "__InstanceModificationEvent_Type");
}

/* Waiting is no idleness: no limit of a connection's time ends it. */
static void test_long_patience(void **st)
{
    vr_autofree char *context = subscribe("");
    vr_autoclose int fd = open_socket();
    int64_t began = vr_mono_now().ms;
    pull(fd, context, "PT10S");
    vr_autofree char *text = hear(fd);
    must_say(text, "w:TimedOut");
    assert_true(vr_mono_now().ms - began >= 1000 * IDLE_S);
    move_job();
    pull(fd, context, "PT60S"); /* on the same connection */
    vr_autofree char *later = hear(fd);
    must_say(later, "__InstanceModificationEvent_Type");
}

static void test_heartbeat(void **st)
{
    vr_autofree char *context = subscribe("<w:Heartbeats>PT1S</w:Heartbeats>");
    vr_autoclose int fd = open_socket();
    pull(fd, context, "PT60S");
    vr_autofree char *text = hear(fd);
    must_say(text, EVENT_HEARTBEAT);
}

static void test_our_client(void **st)
{
    const struct wsmc_target t = { .unix_path = sock };
    vr_auto(wsmc_free) struct wsmc *c = NULL;
    vr_autofree char *context = NULL;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(wsmc_new(&t, &c, &e), 0);
    assert_int_equal(
        wsmc_subscribe(c, NULL, "SELECT * FROM __InstanceModificationEvent", 1, &context, &e), 0);
    for (int i = 0; i < 3; i++) {
        wsmc_autolist struct wsmc_list l = { 0 };
        move_job();
        while (!l.n)
            if (wsmc_pull(c, NULL, context, &l, &e))
                fail_msg("%s", e.msg);
        assert_int_equal(l.n, 1);
        assert_string_equal(l.v[0]->cls, "__InstanceModificationEvent");
        const struct wsmc_prop *p = wsmc_prop(l.v[0], "TargetInstance");
        assert_non_null(p->inst);
        assert_string_equal(p->inst[0]->cls, "Msvm_ConcreteJob");
        assert_int_equal(wsmc_uint(p->inst[0], "JobState", 0), i % 2 ? 7 : 4);
    }
    wsmc_autolist struct wsmc_list none = { 0 };
    assert_int_equal(wsmc_pull(c, NULL, context, &none, &e), 0); /* a heartbeat is no event */
    assert_int_equal(none.n, 0);
    assert_int_equal(wsmc_unsubscribe(c, NULL, context, &e), 0);
    assert_int_equal(wsmc_pull(c, NULL, context, &none, &e), -1);
    assert_int_equal(e.kind, VR_E_INVAL);
}

/* The older one may be on a connection that died without a word. */
static void test_a_newer_pull_takes_the_place(void **st)
{
    vr_autofree char *context = subscribe("");
    vr_autoclose int old = open_socket(), new = open_socket();
    pull(old, context, "PT60S");
    others_are_served(); /* it is waiting by now */
    pull(new, context, "PT60S");
    vr_autofree char *refused = hear(old);
    must_say(refused, "w:TimedOut");
    assert_false(is_answered(new, 200));
    move_job();
    vr_autofree char *text = hear(new);
    must_say(text, "__InstanceModificationEvent_Type");
}

static void test_who_goes_away_is_forgotten(void **st)
{
    vr_autofree char *context = subscribe("");
    for (int i = 0; i < 300; i++) { /* more than connections are allowed */
        int fd = open_socket();
        pull(fd, context, "PT300S");
        if (i % 2)
            others_are_served();
        close(fd);
    }
    vr_autoclose int fd = open_socket();
    pull(fd, context, "PT60S");
    others_are_served();
    move_job();
    vr_autofree char *text = hear(fd);
    must_say(text, "__InstanceModificationEvent_Type");
}

static void test_unsubscribe_ends_the_waiting(void **st)
{
    vr_autofree char *context = subscribe("");
    vr_autofree char *id = vr_printf("<e:Identifier>%s</e:Identifier>", context);
    vr_autoclose int fd = open_socket(), other = open_socket();
    pull(fd, context, "PT60S");
    others_are_served();
    ask(other, ACT_UNSUBSCRIBE, id, "<e:Unsubscribe/>");
    vr_autofree char *done = hear(other);
    must_say(done, "HTTP/1.1 200");
    vr_autofree char *text = hear(fd);
    must_say(text, "InvalidEnumerationContext");
}

static void test_the_server_ends_while_pulls_wait(void **st)
{
    vr_autofree char *context = subscribe(""), *another = subscribe("");
    vr_autoclose int fd = open_socket(), second = open_socket();
    pull(fd, context, "PT300S");
    pull(second, another, "PT300S");
    others_are_served();
    assert_int_equal(stop_server(NULL), 0);
    vr_autofree char *text = hear(fd);
    if (*text)
        must_say(text, "503");
    assert_int_equal(start_server(NULL), 0);
}

static int set_up(void **st)
{
    if (!mkdtemp(dir))
        return -1;
    sock = vr_printf("%s/s", dir);
    return 0;
}

static int tear_down(void **st)
{
    rmdir(dir);
    free(sock);
    return 0;
}

int main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, start_server, stop_server)
    const struct CMUnitTest tests[] = {
        T(test_an_event_ends_the_waiting),
        T(test_a_role_that_goes_ends_the_waiting),
        T(test_patience_ends),
        T(test_our_client),
        T(test_long_patience),
        T(test_heartbeat),
        T(test_a_newer_pull_takes_the_place),
        T(test_who_goes_away_is_forgotten),
        T(test_unsubscribe_ends_the_waiting),
        T(test_the_server_ends_while_pulls_wait),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
