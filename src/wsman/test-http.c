/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* End to end: a server process with a UNIX socket and an HTTPS listener over the fake world, asked
 * by our client, by curl and by raw sockets. Needs root (to be somebody else), certtool and curl.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <systemd/sd-event.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/exec.h"
#include "base/log.h"
#include "base/proc.h"
#include "wsman/auth_pam.h"
#include "wsman/client.h"
#include "wsman/fake.h"
#include "wsman/http.h"
#include "wsman/ns.h"
#include "wsman/tls.h"
#include "wsman/wsm.h"

enum { MACHINES = 2500, NOBODY = 65534, ADMIN_GID = 1 /* "daemon", of the base system */ };

static char dir[] = "/tmp/vr-test-http-XXXXXX";
static char *sock, *pem[4]; /* server certificate and key, client certificate and key */
static char server_thumb[WSM_THUMB_SIZE], client_thumb[WSM_THUMB_SIZE];
static pid_t server;
static uint16_t port;

/* ---- certificates ---------------------------------------------------------------------------- */

static char *slurp(const char *name)
{
    vr_autofree char *path = vr_printf("%s/%s", dir, name);
    vr_autofclose FILE *f = fopen(path, "re");
    assert_non_null(f);
    char *buf = vr_new0(1, 65536);
    assert_true(fread(buf, 1, 65535, f) > 0);
    return buf;
}

static void shell(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static void shell(const char *fmt, ...)
{
    char cmd[2048];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(cmd, sizeof cmd, fmt, ap);
    va_end(ap);
    const char *argv[] = { "sh", "-c", cmd, NULL };
    struct vr_err e = VR_ERR_INIT;
    if (vr_proc_run(argv, 120, NULL, &e))
        fail_msg("%s", e.msg);
}

static void thumb_of(const char *name, char out[WSM_THUMB_SIZE])
{
    shell("cd %s && certtool --fingerprint --hash sha256 --infile %s.crt | tr -d ':\\n' > %s.sum",
          dir, name, name);
    vr_autofree char *file = vr_printf("%s.sum", name);
    vr_autofree char *text = slurp(file);
    snprintf(out, WSM_THUMB_SIZE, "%s", text);
    assert_int_equal(strlen(out), WSM_THUMB_SIZE - 1);
}

static void make_certificates(void)
{
    static const char *const names[] = { "server", "client" };
    for (int i = 0; i < 2; i++) {
        shell(
            "cd %s && printf 'cn=%s\\ndns_name=localhost\\nip_address=127.0.0.1\\n"
            "expiration_days=10\\nca\\nsigning_key\\ntls_www_server\\ntls_www_client\\n' > t "
            "&& certtool --generate-privkey --key-type ecdsa --outfile %s.key --no-text 2>/dev/null"
            "&& certtool --generate-self-signed --load-privkey %s.key --template t "
            "--outfile %s.crt 2>/dev/null",
            dir, names[i], names[i], names[i], names[i]);
        vr_autofree char *crt = vr_printf("%s.crt", names[i]);
        vr_autofree char *key = vr_printf("%s.key", names[i]);
        pem[2 * i] = slurp(crt);
        pem[2 * i + 1] = slurp(key);
    }
    thumb_of("server", server_thumb);
    thumb_of("client", client_thumb);
}

/* ---- the server process -----------------------------------------------------------------------
 */

static void mark(const char *name)
{
    vr_autofree char *path = vr_printf("%s/%s", dir, name);
    vr_autofclose FILE *f = fopen(path, "we");
    (void)f;
}

static void wait_mark(const char *name)
{
    vr_autofree char *path = vr_printf("%s/%s", dir, name);
    for (int i = 0; i < 3000 && access(path, F_OK); i++)
        poll(NULL, 0, 20);
}

static void by_kernel(void *ctx, uint32_t uid, const unsigned *gids, size_t n,
                      struct wsm_identity *ret)
{
    ret->role = uid ? CIM_ROLE_NONE : CIM_ROLE_ADMIN;
    for (size_t i = 0; i < n; i++)
        if (gids[i] == ADMIN_GID)
            ret->role = CIM_ROLE_ADMIN;
}

static int by_thumb(void *ctx, const char *thumb, struct wsm_identity *ret)
{
    if (strcmp(thumb, client_thumb))
        return -1;
    ret->role = CIM_ROLE_ADMIN;
    snprintf(ret->name, sizeof ret->name, "cert:%.40s", thumb);
    return 0;
}

static int by_password(void *ctx, const char *user, const char *password, const char *address,
                       struct wsm_identity *ret, struct vr_err *err)
{
    if (!strcmp(user, "slow")) { /* until the test lets it go on */
        mark("started");
        wait_mark("go");
    }
    if (strcmp(user, "op") || strcmp(password, "s3:cret"))
        return vr_fail(err, VR_E_AUTH, 0, "wrong user name or password");
    ret->role = CIM_ROLE_READER;
    snprintf(ret->name, sizeof ret->name, "%s", user);
    return 0;
}

static int on_term(sd_event_source *s, const struct signalfd_siginfo *si, void *arg)
{
    return sd_event_exit(arg, 0);
}

static void serve(int report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    vr_log_level(VR_LOG_ERROR);
    wsm_fake_machines(MACHINES);
    sigset_t term;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    sigprocmask(SIG_BLOCK, &term, NULL);
    sd_event *ev = NULL;
    struct wsm_http *h = NULL;
    struct vr_err e = VR_ERR_INIT;
    struct cim_server *svc = wsm_fake_server();
    struct wsm *w = wsm_new(svc, NULL);
    struct vr_exec *x = vr_exec_new("auth", 1);
    const struct wsm_auth auth = { .role_of_local = by_kernel,
                                   .role_of_thumbprint = by_thumb,
                                   .check_password = by_password,
                                   .exec = x };
    const struct wsm_http_limits lim = { .request_s = 4,
                                         .reply_s = 20,
                                         .idle_s = 60,
                                         .stranger_s = 8,
                                         .per_address = 6,
                                         .failed_delay_ms = 100 };
    const struct wsm_tls_listen l = { .address = "127.0.0.1",
                                      .cert_pem = pem[0],
                                      .key_pem = pem[1] };
    uint16_t p = 0;
    if (sd_event_new(&ev) < 0 || sd_event_add_signal(ev, NULL, SIGTERM, on_term, ev) < 0 ||
        wsm_http_new(ev, w, &auth, &lim, &h, &e) || wsm_http_listen_unix(h, sock, &e) ||
        wsm_http_listen_tls(h, &l, &p, &e)) {
        fprintf(stderr, "server: %s\n", e.msg);
        _exit(1);
    }
    if (write(report, &p, sizeof p) != sizeof p)
        _exit(1);
    sd_event_loop(ev);
    wsm_http_free(h);
    vr_exec_free(x);
    wsm_free(w);
    cim_server_free(svc);
    sd_event_unref(ev);
    exit(0); /* with the leak check of sanitizers */
}

static void start_server(void)
{
    int p[2];
    assert_int_equal(pipe(p), 0);
    server = fork();
    assert_true(server >= 0);
    if (!server)
        serve(p[1]);
    close(p[1]);
    assert_int_equal(read(p[0], &port, sizeof port), sizeof port);
    close(p[0]);
}

static void stop_server(void)
{
    int st;
    kill(server, SIGTERM);
    assert_int_equal(waitpid(server, &st, 0), server);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

/* ---- our client over the UNIX socket ------------------------------------------------------------
 */

static struct wsmc *local_client(void)
{
    const struct wsmc_target t = { .unix_path = sock };
    struct wsmc *c = NULL;
    assert_int_equal(wsmc_new(&t, &c, NULL), 0);
    return c;
}

static void must(int rc, const struct vr_err *e)
{
    if (rc)
        fail_msg("%s", e->msg);
}

static void test_identify_and_get(void **s)
{
    vr_auto(wsmc_free) struct wsmc *c = local_client();
    vr_auto(wsmc_inst_free) struct wsmc_inst *id = NULL, *vm = NULL, *svc = NULL;
    struct vr_err e = VR_ERR_INIT;
    must(wsmc_identify(c, &id, &e), &e);
    assert_string_equal(wsmc_str(id, "ProductVendor"), "vmreplica");
    assert_string_equal(wsmc_str(id, "ProductVersion"),
                        "OS: 0.0.0 SP: 0.0 Stack: 3.0 vmreplica " VR_VERSION);
    const struct wsmc_key key = { "Name", "00000000-0000-0000-0000-000000000002" };
    const struct wsmc_ref ref = { .cls = "Msvm_ComputerSystem", .keys = &key, .n_keys = 1 };
    must(wsmc_get(c, &ref, &vm, &e), &e);
    assert_string_equal(vm->cls, "Msvm_ComputerSystem");
    assert_string_equal(wsmc_str(vm, "elementname"), "b<e>&\"ta");
    assert_int_equal(wsmc_prop(vm, "OperationalStatus")->n, 2);
    assert_int_equal(wsmc_uint(vm, "EnabledState", 0), 2);
    assert_true(wsmc_prop(vm, "Caption")->is_nil);
    assert_null(wsmc_prop(vm, "Roles"));
    const struct wsmc_ref one = { .cls = "Msvm_ReplicationService" };
    must(wsmc_get(c, &one, &svc, &e), &e);
    assert_string_equal(wsmc_str(svc, "SystemName"), "LAB");
}

static void test_enumerate_all_pages_and_query(void **s)
{
    vr_auto(wsmc_free) struct wsmc *c = local_client();
    wsmc_autolist struct wsmc_list all = { 0 }, some = { 0 }, links = { 0 };
    struct vr_err e = VR_ERR_INIT;
    must(wsmc_enumerate(c, NULL, "Msvm_ComputerSystem", &all, &e), &e);
    assert_int_equal(all.n, MACHINES);
    assert_string_equal(wsmc_str(all.v[MACHINES - 1], "ElementName"), "m2499");
    must(
        wsmc_query(c, NULL, "select * from Msvm_ComputerSystem where ElementName='m77'", &some, &e),
        &e);
    assert_int_equal(some.n, 1);
    must(wsmc_enumerate(c, NULL, "Msvm_SystemReplicationRelationship", &links, &e), &e);
    assert_int_equal(links.n, 2);
    const char *path = wsmc_str(links.v[1], "Dependent");
    assert_string_equal(path, "root/virtualization/v2:Msvm_ReplicationRelationship.InstanceID="
                              "\"Microsoft:00000000-0000-0000-0000-000000000002\\\\HVR\\\\0\"");
    vr_auto(wsmc_inst_free) struct wsmc_inst *rel = NULL;
    const struct wsmc_ref ref = { .path = path }; /* a result can be asked for */
    must(wsmc_get(c, &ref, &rel, &e), &e);
    assert_string_equal(wsmc_str(rel, "InstanceID"),
                        "Microsoft:00000000-0000-0000-0000-000000000002\\HVR\\0");
}

static void test_invoke_put_and_faults(void **s)
{
    vr_auto(wsmc_free) struct wsmc *c = local_client();
    vr_auto(wsmc_inst_free) struct wsmc_inst *out = NULL, *st = NULL, *now = NULL, *emb = NULL;
    struct vr_err e = VR_ERR_INIT;
    const struct wsmc_ref svc = { .cls = "Msvm_ReplicationService" };
    const struct wsmc_key key = { "Name", "00000000-0000-0000-0000-000000000001" };
    const struct wsmc_ref vm = { .cls = "Msvm_ComputerSystem", .keys = &key, .n_keys = 1 };
    const struct wsmc_arg by_ref = { .name = "ComputerSystem", .ref = &vm };
    uint32_t ret;
    must(wsmc_invoke(c, &svc, "InitiateFailover", &by_ref, 1, &ret, &out, &e), &e);
    assert_int_equal(ret, 4096);
    assert_string_equal(wsmc_job_id(out), "JOB-1");

    const struct wsmc_arg prop = { .name = "Caption", .value = "<&>" };
    vr_autofree char *xml = wsmc_make_cim_xml("Msvm_ReplicationRelationship", &prop, 1);
    const struct wsmc_arg text = { .name = "ReplicationRelationship", .value = xml };
    must(wsmc_invoke(c, &svc, "GetReplicationStatisticsEx", &text, 1, &ret, &st, &e), &e);
    assert_int_equal(wsmc_prop(st, "ReplicationStatistics")->n, 2);
    must(wsmc_cim_xml(wsmc_str(st, "ReplicationStatistics"), &emb, &e), &e);
    assert_string_equal(wsmc_str(emb, "Caption"), "<&>");
    must(wsmc_invoke(c, &svc, "RevertFailover", NULL, 0, &ret, NULL, &e), &e);
    assert_int_equal(ret, 32775);
    assert_int_equal(wsmc_invoke(c, &svc, "Nonsense", NULL, 0, &ret, NULL, &e), -1);
    assert_int_equal(e.kind, VR_E_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "Nonsense"));

    const struct wsmc_ref set = { .cls = "Msvm_ReplicationServiceSettingData" };
    const struct wsmc_arg name = { .name = "ElementName", .value = "renamed" };
    vr_err_clear(&e);
    must(wsmc_put(c, &set, &name, 1, &now, &e), &e);
    assert_string_equal(wsmc_str(now, "ElementName"), "renamed");

    const struct wsmc_ref none = { .path = "Msvm_ConcreteJob.InstanceID=\"JOB-77\"" };
    vr_auto(wsmc_inst_free) struct wsmc_inst *missing = NULL;
    assert_int_equal(wsmc_get(c, &none, &missing, &e), -1);
    assert_int_equal(e.kind, VR_E_NOTFOUND);
    assert_non_null(strstr(e.msg, "JOB-77"));
}

static void test_client_survives_a_restart_of_the_server(void **s)
{
    vr_auto(wsmc_free) struct wsmc *c = local_client();
    vr_auto(wsmc_inst_free) struct wsmc_inst *a = NULL, *b = NULL;
    struct vr_err e = VR_ERR_INIT;
    must(wsmc_identify(c, &a, &e), &e);
    stop_server();
    start_server();
    must(wsmc_identify(c, &b, &e), &e);
    const struct wsmc_target t = { .unix_path = "/tmp/vr-no-such-socket" };
    vr_auto(wsmc_free) struct wsmc *none = NULL;
    assert_int_equal(wsmc_new(&t, &none, NULL), 0);
    assert_int_equal(wsmc_identify(none, &b, &e), -1);
    assert_int_equal(e.kind, VR_E_PEER);
}

/* In a process of another user: kind of the error that an enumeration gets, VR_OK if none. */
static int kind_as(uid_t uid, gid_t extra)
{
    pid_t p = fork();
    assert_true(p >= 0);
    if (!p) {
        struct vr_err e = VR_ERR_INIT;
        if (setgroups(extra ? 1 : 0, &extra) || setgid(NOBODY) || setuid(uid))
            _exit(99);
        struct wsmc *c = local_client();
        struct wsmc_list l = { 0 };
        wsmc_enumerate(c, NULL, "Msvm_ConcreteJob", &l, &e);
        _exit((int)e.kind);
    }
    int st;
    waitpid(p, &st, 0);
    assert_true(WIFEXITED(st));
    return WEXITSTATUS(st);
}

static void test_local_callers_are_known_by_the_kernel(void **s)
{
    if (geteuid())
        skip();
    assert_int_equal(kind_as(NOBODY, 0), VR_E_DENIED);
    assert_int_equal(kind_as(NOBODY, ADMIN_GID), VR_OK);
}

/* ---- HTTPS -------------------------------------------------------------------------------------
 */

static int kind_of(const struct wsmc_target *base, struct vr_err *e)
{
    struct wsmc_target t = *base;
    t.port = port;
    t.host = t.host ? t.host : "127.0.0.1";
    vr_auto(wsmc_free) struct wsmc *c = NULL;
    wsmc_autolist struct wsmc_list l = { 0 };
    vr_err_clear(e);
    if (!wsmc_new(&t, &c, e) && !wsmc_enumerate(c, NULL, "Msvm_ConcreteJob", &l, e))
        assert_int_equal(l.n, 1);
    return (int)e->kind;
}

static void test_certificates(void **s)
{
    struct vr_err e = VR_ERR_INIT;
    struct wsmc_target t = { .pin = server_thumb, .cert_pem = pem[2], .key_pem = pem[3] };
    must(kind_of(&t, &e), &e);
    t.pin = client_thumb; /* another server than expected */
    assert_int_equal(kind_of(&t, &e), VR_E_AUTH);
    assert_non_null(strstr(e.msg, server_thumb));
    t.pin = NULL;
    assert_int_equal(kind_of(&t, &e), VR_E_AUTH); /* nobody we know signed it */
    t.ca_pem = pem[0];
    t.host = "localhost";
    must(kind_of(&t, &e), &e);
    t.cert_pem = pem[0]; /* a certificate that has no role */
    t.key_pem = pem[1];
    assert_int_equal(kind_of(&t, &e), VR_E_AUTH);
    t.cert_pem = t.key_pem = NULL;
    assert_int_equal(kind_of(&t, &e), VR_E_AUTH);
}

static void test_passwords(void **s)
{
    struct vr_err e = VR_ERR_INIT;
    struct wsmc_target t = { .pin = server_thumb, .user = "op", .password = "s3:cret" };
    must(kind_of(&t, &e), &e);
    t.password = "wrong";
    assert_int_equal(kind_of(&t, &e), VR_E_AUTH);
    t.user = "";
    assert_int_equal(kind_of(&t, &e), VR_E_AUTH);
}

static void test_a_running_check_does_not_hinder_others_nor_the_end(void **s)
{
    pid_t p = fork();
    assert_true(p >= 0);
    if (!p) {
        struct vr_err e = VR_ERR_INIT;
        const struct wsmc_target t = { .pin = server_thumb, .user = "slow", .password = "x" };
        _exit(kind_of(&t, &e) != VR_OK ? 0 : 1);
    }
    wait_mark("started");
    vr_auto(wsmc_free) struct wsmc *c = local_client();
    vr_auto(wsmc_inst_free) struct wsmc_inst *id = NULL;
    struct vr_err e = VR_ERR_INIT;
    must(wsmc_identify(c, &id, &e), &e);
    kill(server, SIGTERM);
    mark("go");
    stop_server();
    int st;
    assert_int_equal(waitpid(p, &st, 0), p);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
    start_server();
}

static void test_identify_needs_no_name_but_tells_no_version(void **s)
{
    const struct wsmc_target t = { .host = "127.0.0.1", .port = port, .pin = server_thumb };
    vr_auto(wsmc_free) struct wsmc *c = NULL;
    vr_auto(wsmc_inst_free) struct wsmc_inst *id = NULL;
    struct vr_err e = VR_ERR_INIT;
    must(wsmc_new(&t, &c, &e), &e);
    must(wsmc_identify(c, &id, &e), &e);
    assert_string_equal(wsmc_str(id, "ProductVersion"), "OS: 0.0.0 SP: 0.0 Stack: 3.0");
    assert_null(wsmc_prop(id, "SecurityProfiles"));
}

/* ---- curl ---------------------------------------------------------------------------------------
 */

/* Status that curl saw, as text. */
static void curl(const char *args, const char *want)
{
    vr_autobuf struct vr_buf out = VR_BUF_INIT;
    vr_autofree char *cmd = vr_printf(
        "cd %s && curl -s -o body -D head -w '%%{http_code}' --max-time 60 %s", dir, args);
    const char *argv[] = { "sh", "-c", cmd, NULL };
    struct vr_err e = VR_ERR_INIT;
    must(vr_proc_run(argv, 90, &out, &e), &e);
    if (strcmp((char *)out.data, want))
        fail_msg("curl %s: %s instead of %s", args, (char *)out.data, want);
}

static void write_file(const char *name, const char *text, size_t pad)
{
    vr_autofree char *path = vr_printf("%s/%s", dir, name);
    vr_autofclose FILE *f = fopen(path, "we");
    assert_non_null(f);
    fputs(text, f);
    for (size_t i = 0; i < pad; i++)
        fputc(' ', f);
}

#define SOAP_TYPE "-H 'Content-Type: application/soap+xml;charset=UTF-8'"

static void test_curl_sees_plain_http(void **s)
{
    write_file("id.xml",
               "<s:Envelope xmlns:s='http://www.w3.org/2003/05/soap-envelope' xmlns:i='http://"
               "schemas.dmtf.org/wbem/wsman/identity/1/wsmanidentity.xsd'><s:Body><i:Identify/>"
               "</s:Body></s:Envelope>",
               0);
    write_file("big.xml", "<a/>", 600000);
    write_file("huge.xml", "<a/>",
               3 << 20); /* more than a socket holds: read by nobody otherwise */
    write_file("bad.xml", "<a>", 0);
    const char *u = "--unix-socket s http://x";
    struct {
        const char *fmt, *want;
    } const all[] = {
        { "%s/wsman " SOAP_TYPE " --data-binary @id.xml", "200" },
        { "%s/wsman/ " SOAP_TYPE " -H 'Transfer-Encoding: chunked' --data-binary @id.xml", "200" },
        { "%s/wsman " SOAP_TYPE " --data-binary @bad.xml", "400" },
        { "%s/other " SOAP_TYPE " --data-binary @id.xml", "404" },
        { "%s/wsman", "405" },
        { "%s/wsman -H 'Content-Type: text/plain' --data-binary @id.xml", "415" },
        { "%s/wsman -H 'Content-Type:' --data-binary @id.xml", "200" },
        { "%s/wsman -H 'Content-Type:' -H 'Origin: http://evil' --data-binary @id.xml", "415" },
        { "%s/wsman -H 'Content-Type:' -A 'Mozilla/5.0 (X11)' --data-binary @id.xml", "415" },
        { "%s/wsman " SOAP_TYPE " --data-binary @big.xml", "413" },
        { "%s/wsman " SOAP_TYPE " -H 'Transfer-Encoding: chunked' --data-binary @big.xml", "413" },
        { "%s/wsman " SOAP_TYPE " -H 'Expect:' --data-binary @huge.xml", "413" },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++) {
        char args[1024];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(args, sizeof args, all[i].fmt, u);
#pragma GCC diagnostic pop
        curl(args, all[i].want);
    }
}

static void test_curl_over_tls(void **s)
{
    vr_autofree char *base = vr_printf(SOAP_TYPE " --data-binary @bad.xml --cacert server.crt "
                                                 "https://localhost:%u/wsman",
                                       port);
    curl(base, "401");
    shell("grep -qi '^WWW-Authenticate: Basic realm' %s/head", dir);
    vr_autofree char *good = vr_printf("-u op:s3:cret %s", base);
    curl(good, "400"); /* known now; the envelope is bad */
    vr_autofree char *bad = vr_printf("-u op:nonsense %s", base);
    curl(bad, "401");
    vr_autofree char *cert = vr_printf("--cert client.crt --key client.key %s", base);
    curl(cert, "400");
    /* what WinRM says when it has a certificate; without one it is nothing */
    static const char mutual[] =
        "-H 'Authorization: http://schemas.dmtf.org/wbem/wsman/1/wsman/secprofile/https/mutual'";
    vr_autofree char *winrm = vr_printf("%s %s", mutual, cert);
    curl(winrm, "400");
    vr_autofree char *empty = vr_printf("%s %s", mutual, base);
    curl(empty, "401");
    vr_autofree char *old = vr_printf("--tls-max 1.2 --cert client.crt --key client.key %s", base);
    curl(old, "400");
    const char *argv[] = { "curl", "-s", "--tls-max", "1.1", "-k", NULL, NULL };
    vr_autofree char *url = vr_printf("https://localhost:%u/wsman", port);
    argv[5] = url;
    assert_int_equal(vr_proc_run(argv, 60, NULL, NULL), -1);
}

/* ---- hostile peers
 * -------------------------------------------------------------------------------- */

static int raw_local(void)
{
    struct sockaddr_un sa = { .sun_family = AF_UNIX };
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", sock);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    return fd;
}

/* Is it closed by the other side within 60 s, while a byte is sent every 100 ms? */
static bool is_dropped(int fd, bool drip)
{
    int64_t end = vr_mono_now().ms + 60000;
    while (vr_mono_now().ms < end) {
        struct pollfd p = { .fd = fd, .events = POLLIN };
        char c;
        if (poll(&p, 1, 100) > 0)
            return recv(fd, &c, 1, 0) <= 0;
        if (drip && send(fd, "x", 1, MSG_NOSIGNAL) < 0)
            return true;
    }
    return false;
}

static void test_slow_senders_are_dropped(void **s)
{
    vr_autoclose int fd = raw_local();
    static const char head[] = "POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n"
                               "Content-Type: application/soap+xml\r\n\r\n";
    assert_int_equal(send(fd, head, sizeof head - 1, MSG_NOSIGNAL), sizeof head - 1);
    assert_true(is_dropped(fd, true));
    vr_auto(wsmc_free) struct wsmc *c = local_client(); /* and nobody else suffers */
    vr_auto(wsmc_inst_free) struct wsmc_inst *id = NULL;
    assert_int_equal(wsmc_identify(c, &id, NULL), 0);
}

static void test_strangers_do_not_stay(void **s)
{
    struct sockaddr_in sa = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    vr_autoclose int net = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), root = raw_local();
    assert_int_equal(connect(net, (struct sockaddr *)&sa, sizeof sa), 0);
    int64_t begin = vr_mono_now().ms;
    assert_true(is_dropped(net, false));
    assert_true(vr_mono_now().ms - begin < 40000); /* long before idle_s */
    struct pollfd p = { .fd = root, .events = POLLIN };
    assert_int_equal(poll(&p, 1, 0), 0); /* who is known stays */
}

/* The reply is longer than what the kernel takes in between. */
static void test_who_does_not_take_the_reply_is_dropped(void **s)
{
    vr_autoclose int fd = raw_local();
    vr_autofree char *body = vr_printf(
        "<s:Envelope xmlns:s='" NS_SOAP "' xmlns:a='" NS_ADDR "' xmlns:w='" NS_WSMAN
        "' xmlns:n='" NS_ENUM "'><s:Header><a:Action>" ACT_ENUMERATE
        "</a:Action><a:MessageID>uuid:1"
        "</a:MessageID><w:ResourceURI>" URI_WMI "root/virtualization/v2/Msvm_ComputerSystem"
        "</w:ResourceURI></s:Header><s:Body><n:Enumerate><w:OptimizeEnumeration/><w:MaxElements>"
        "1000</w:MaxElements></n:Enumerate></s:Body></s:Envelope>");
    vr_autofree char *text = vr_printf("POST /wsman HTTP/1.1\r\nHost: x\r\nContent-Length: %zu\r\n"
                                       "Content-Type: application/soap+xml\r\n\r\n%s",
                                       strlen(body), body);
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
    struct pollfd p = { .fd = fd, .events = POLLRDHUP };
    assert_int_equal(poll(&p, 1, 60000), 1);
    vr_auto(wsmc_free) struct wsmc *c = local_client();
    vr_auto(wsmc_inst_free) struct wsmc_inst *id = NULL;
    assert_int_equal(wsmc_identify(c, &id, NULL), 0);
}

static void test_connections_of_one_address_are_limited(void **s)
{
    int fd[7];
    struct sockaddr_in sa = { .sin_family = AF_INET,
                              .sin_port = htons(port),
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    for (size_t i = 0; i < VR_ARRAY_LEN(fd); i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        assert_int_equal(connect(fd[i], (struct sockaddr *)&sa, sizeof sa), 0);
    }
    assert_true(is_dropped(fd[6], false));
    for (size_t i = 0; i < VR_ARRAY_LEN(fd); i++)
        close(fd[i]);
}

/* A user without a role must not keep root's tools out. */
static void test_a_local_user_cannot_take_all_connections(void **s)
{
    if (geteuid())
        skip();
    int go[2];
    assert_int_equal(pipe(go), 0);
    pid_t p = fork();
    assert_true(p >= 0);
    if (!p) {
        int fd[7];
        if (setgroups(0, NULL) || setgid(NOBODY) || setuid(NOBODY))
            _exit(99);
        for (size_t i = 0; i < VR_ARRAY_LEN(fd); i++)
            fd[i] = raw_local();
        if (!is_dropped(fd[6], false)) /* one over the limit */
            _exit(1);
        if (write(go[1], "x", 1) != 1)
            _exit(2);
        for (size_t i = 0; i < 6; i++) /* and the others do not last */
            if (!is_dropped(fd[i], false))
                _exit(3);
        _exit(0);
    }
    char c;
    assert_int_equal(read(go[0], &c, 1), 1);
    close(go[0]);
    close(go[1]);
    struct wsmc *root[8];
    for (size_t i = 0; i < VR_ARRAY_LEN(root); i++) { /* more than others may have */
        vr_auto(wsmc_inst_free) struct wsmc_inst *id = NULL;
        root[i] = local_client();
        assert_int_equal(wsmc_identify(root[i], &id, NULL), 0);
    }
    for (size_t i = 0; i < VR_ARRAY_LEN(root); i++)
        wsmc_free(root[i]);
    int st;
    assert_int_equal(waitpid(p, &st, 0), p);
    assert_true(WIFEXITED(st) && WEXITSTATUS(st) == 0);
}

static void test_bad_certificate_is_an_error_and_the_port_stays_free(void **s)
{
    sd_event *ev = NULL;
    assert_true(sd_event_new(&ev) >= 0);
    struct cim_server *svc = wsm_fake_server();
    struct wsm *w = wsm_new(svc, NULL);
    const struct wsm_auth auth = { 0 };
    struct wsm_http *h = NULL;
    struct vr_err e = VR_ERR_INIT;
    must(wsm_http_new(ev, w, &auth, NULL, &h, &e), &e);
    const struct wsm_tls_listen l = { .address = "127.0.0.1",
                                      .cert_pem = pem[0],
                                      .key_pem = pem[3] };
    assert_int_equal(wsm_http_listen_tls(h, &l, NULL, &e), -1);
    assert_int_equal(e.kind, VR_E_INVAL);
    vr_err_clear(&e);
    assert_int_equal(wsm_http_listen_unix(h, sock, &e), -1); /* the server is there */
    assert_int_equal(e.kind, VR_E_BUSY);
    wsm_http_free(h);
    wsm_free(w);
    cim_server_free(svc);
    sd_event_unref(ev);
}

static void test_pam_refuses_a_wrong_password(void **s)
{
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(wsm_pam_check("vmreplica", "root", "surely wrong", NULL, &e), -1);
    assert_int_not_equal(e.kind, VR_OK);
    vr_err_clear(&e);
    assert_int_equal(wsm_pam_check("vmreplica", "ro\not", "x", NULL, &e), -1);
    assert_int_equal(e.kind, VR_E_AUTH);
}

static int set_up(void **s)
{
    if (!mkdtemp(dir))
        return -1;
    chmod(dir, 0755);
    sock = vr_printf("%s/s", dir);
    make_certificates();
    start_server();
    return 0;
}

static int tear_down(void **s)
{
    stop_server();
    assert_int_equal(access(sock, F_OK), -1); /* it cleans up after itself */
    shell("rm -rf %s", dir);
    for (size_t i = 0; i < VR_ARRAY_LEN(pem); i++)
        free(pem[i]);
    free(sock);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_identify_and_get),
        cmocka_unit_test(test_enumerate_all_pages_and_query),
        cmocka_unit_test(test_invoke_put_and_faults),
        cmocka_unit_test(test_client_survives_a_restart_of_the_server),
        cmocka_unit_test(test_local_callers_are_known_by_the_kernel),
        cmocka_unit_test(test_certificates),
        cmocka_unit_test(test_passwords),
        cmocka_unit_test(test_a_running_check_does_not_hinder_others_nor_the_end),
        cmocka_unit_test(test_identify_needs_no_name_but_tells_no_version),
        cmocka_unit_test(test_curl_sees_plain_http),
        cmocka_unit_test(test_curl_over_tls),
        cmocka_unit_test(test_slow_senders_are_dropped),
        cmocka_unit_test(test_who_does_not_take_the_reply_is_dropped),
        cmocka_unit_test(test_strangers_do_not_stay),
        cmocka_unit_test(test_connections_of_one_address_are_limited),
        cmocka_unit_test(test_a_local_user_cannot_take_all_connections),
        cmocka_unit_test(test_bad_certificate_is_an_error_and_the_port_stays_free),
        cmocka_unit_test(test_pam_refuses_a_wrong_password),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
