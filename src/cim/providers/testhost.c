/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host of the providers' tests. Time is the test's own, except that instants are real ones. */
#include "cim/providers/testhost.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"

/* ---- the engine's environment ---- */
static struct mono_ms env_mono(void *ctx)
{
    return (struct mono_ms){ ((struct world *)ctx)->mono };
}

static struct wall_us env_wall(void *ctx)
{
    return vr_wall_now();
}

/* Within Microsoft's window for automatic resynchronisation, whenever the tests run. */
static uint32_t env_day_second(void *ctx, struct wall_us t)
{
    return 3 * 3600;
}

static void env_random(void *ctx, void *p, size_t n)
{
    vr_random(p, n);
}

static void env_run(void *ctx, const struct rel *r, enum rel_fx_bit fx)
{
    struct world *w = ctx;

    if (fx == FX_BIT_RETENTION || (fx == FX_BIT_CANCEL_RX && !r->rx_active))
        return;
    if (fx == FX_BIT_PERSIST && vr_uuid_eq(&r->machine, &w->vm[0].uuid)) {
        free(w->rel_text);
        w->rel_text = rel_encode(r);
    }
    if (fx == FX_BIT_CANCEL_FLOW) {
        /* a transfer that is held ends now */
        for (size_t i = 0; i < w->n_queue; i++)
            if (w->queue[i].fx == FX_BIT_SHIP) {
                w->hold &= ~(uint32_t)FX_SHIP;
                w->fail[FX_BIT_SHIP] = VR_E_CANCELLED;
            }
        return;
    }
    assert_true(w->n_queue < VR_ARRAY_LEN(w->queue));
    w->queue[w->n_queue++] = (struct pending){ *r, fx };
}

static void env_write_job(void *ctx, const struct vr_uuid *id, const char *text)
{
    struct world *w = ctx;
    size_t i = 0;

    while (i < w->n_jobs && !vr_uuid_eq(&w->jobs[i].id, id))
        i++;
    if (i == VR_ARRAY_LEN(w->jobs))
        return; /* no test looks at so many */
    if (i == w->n_jobs)
        w->jobs[w->n_jobs++].id = *id;
    free(w->jobs[i].text);
    w->jobs[i].text = text ? vr_strdup(text) : NULL;
}

static void env_changed(void *ctx, const struct rel *before, const struct rel *after,
                        const struct job *job)
{
    struct world *w = ctx;
    if (w->prov)
        host_providers_changed(w->prov, after ? &after->machine : NULL, job);
}

static const struct {
    enum rel_fx_bit fx;
    enum rel_event_type good, bad;
} answers[] = {
    { FX_BIT_CREATE_AT_PEER, EV_CREATED, EV_CREATE_FAILED },
    { FX_BIT_MAKE_REPLICA, EV_CREATED, EV_CREATE_FAILED },
    { FX_BIT_CAPTURE, EV_CAPTURED, EV_CAPTURE_FAILED },
    { FX_BIT_SHIP, EV_SHIPPED, EV_SHIP_FAILED },
    { FX_BIT_RETIRE, EV_ENDED, EV_ENDED },
    { FX_BIT_DROP, EV_ENDED, EV_ENDED },
    { FX_BIT_FAILOVER, EV_FAILED_OVER, EV_FAILOVER_FAILED },
    { FX_BIT_REVERT, EV_REVERTED, EV_REVERT_FAILED },
    { FX_BIT_REVERSE_CALL, EV_REVERSED, EV_REVERSE_FAILED },
    { FX_BIT_PROBE, EV_PEER_TOLD, EV_PEER_AWAY },
    { FX_BIT_YIELD, EV_YIELDED, EV_YIELD_FAILED },
    { FX_BIT_REMOVE, EV_REMOVED, EV_REMOVE_FAILED },
    { FX_BIT_CANCEL_RX, EV_RX_ENDED, EV_RX_ENDED },
};

static void answer(struct world *w, const struct pending *q)
{
    struct rel_event ev = { .type = EV_COUNT, .seeded = w->seeded, .instant = vr_wall_now() };
    enum vr_kind fail = w->fail[q->fx];

    w->fail[q->fx] = VR_OK;
    for (size_t i = 0; i < VR_ARRAY_LEN(answers); i++)
        if (answers[i].fx == q->fx)
            ev.type = fail ? answers[i].bad : answers[i].good;
    if (fail)
        vr_fail(&ev.err, fail, 0, "the test wants %s to fail", rel_fx_name(q->fx));
    ev.vm_off = w->vm[0].power == HV_POWER_OFF;
    snprintf(ev.peer, sizeof ev.peer, "%s", q->r.peer);
    ev.n_disks = q->r.n_disks;
    memcpy(ev.disks, q->r.disks, sizeof ev.disks);
    ev.moved = (struct rel_moved){ .dirty = 4096, .payload = 2048, .wire = 1024, .ms = 2000 };
    ev.point = q->r.failover_latest ? q->r.newest : q->r.failover;
    ev.kind = VR_POINT_STANDARD;
    for (size_t i = 0; i < w->n_points; i++)
        if (vr_point_eq(&w->points[i].id, &ev.point))
            ev.kind = w->points[i].kind;
    if (ev.type != EV_COUNT)
        engine_event(w->engine, &q->r.machine, &ev);
    if (q->fx == FX_BIT_PUSH_SETTINGS) {
        engine_settings_told(w->engine, &q->r.machine, q->r.set.rev, q->r.set.rev,
                             fail ? &ev.err : NULL);
        return;
    }
    if (q->fx != FX_BIT_SHIP && q->fx != FX_BIT_PROBE && q->fx != FX_BIT_CANCEL_RX)
        engine_done(w->engine, &q->r.machine);
}

static bool answer_next(struct world *w)
{
    for (size_t i = 0; i < w->n_queue; i++) {
        if (w->hold & 1u << w->queue[i].fx)
            continue;
        struct pending q = w->queue[i];
        memmove(&w->queue[i], &w->queue[i + 1], (--w->n_queue - i) * sizeof q);
        answer(w, &q);
        return true;
    }
    return false;
}

void pump(struct world *w)
{
    for (int i = 0; i < 100; i++) {
        while (answer_next(w))
            ;
        struct mono_ms next = engine_next(w->engine);
        if (!next.ms || next.ms > w->mono + 100)
            return;
        w->mono = next.ms > w->mono ? next.ms : w->mono;
        engine_tick(w->engine);
    }
    fail_msg("the engine does not come to rest");
}

/* ---- the providers' host ---- */
static size_t h_machines(void *ctx, const struct hv_machine **ret)
{
    struct world *w = ctx;
    *ret = w->vm;
    return w->n_vms;
}

static size_t h_points(void *ctx, const struct vr_uuid *machine, const struct store_point **ret)
{
    struct world *w = ctx;
    *ret = w->points;
    return vr_uuid_eq(machine, &w->points_of) ? w->n_points : 0;
}

static size_t h_peers(void *ctx, const struct host_peer **ret)
{
    *ret = &((struct world *)ctx)->peer;
    return 1;
}

static const struct host_peer *h_find_peer(void *ctx, const char *point)
{
    struct world *w = ctx;
    return !strcasecmp(point, w->peer.name) || !strcmp(point, w->peer.address) ? &w->peer : NULL;
}

static bool h_transfer(void *ctx, const struct vr_uuid *machine, struct host_transfer *ret)
{
    struct world *w = ctx;
    *ret = w->transfer;
    return w->transferring;
}

static int h_pair_code(void *ctx, char code[64], struct wall_us *ret_expires, struct vr_err *err)
{
    snprintf(code, 64, "ABCD-EFGH");
    *ret_expires = vr_wall_now();
    return 0;
}

static int h_job(struct world *w, enum job_type type, const struct vr_uuid *machine,
                 const char *owner, struct vr_uuid *ret_job)
{
    *ret_job = engine_job_new(w->engine, type, machine, owner);
    engine_job_end(w->engine, ret_job, NULL);
    return 0;
}

static int h_pair(void *ctx, const char *address, uint16_t port, const char *code,
                  const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    return h_job(ctx, JOB_PAIR, NULL, owner, ret_job);
}

static int h_unpair(void *ctx, const char *peer, struct vr_err *err)
{
    struct world *w = ctx;
    return strcasecmp(peer, w->peer.name) ? vr_fail(err, VR_E_NOTFOUND, 0, "no peer %s", peer) : 0;
}

static int h_power(void *ctx, const struct vr_uuid *machine, enum hv_action action,
                   const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    ((struct world *)ctx)->action = action;
    return h_job(ctx, JOB_POWER, machine, owner, ret_job);
}

static int h_test(void *ctx, const char *point, uint16_t port, bool kerberos, const char *owner,
                  struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;
    snprintf(w->tested, sizeof w->tested, "%s %u %s", point, port, kerberos ? "Kerberos" : "");
    return h_job(ctx, JOB_TEST_CONNECTION, NULL, owner, ret_job);
}

static const char *h_kerberos_name(void *ctx, struct vr_err *err)
{
    struct world *w = ctx;
    if (w->kerberos)
        return w->kerberos;
    vr_fail(err, VR_E_NOFILE, 0, "there is no keytab");
    return NULL;
}

static int h_ask_peer(void *ctx, const struct vr_uuid *machine, const char *owner,
                      struct vr_uuid *ret_job, struct vr_err *err)
{
    return h_job(ctx, JOB_TEST_CONNECTION, machine, owner, ret_job);
}

static int h_discard(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                     const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;
    for (size_t i = 0; i < w->n_points; i++)
        if (vr_point_eq(&w->points[i].id, point))
            w->points[i] = w->points[--w->n_points];
    return h_job(ctx, JOB_PIN, machine, owner, ret_job);
}

static int h_pin(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point, bool on,
                 const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;
    (void)err;
    for (size_t i = 0; i < w->n_points; i++)
        if (vr_point_eq(&w->points[i].id, point))
            w->points[i].pins = on ? STORE_PIN_USER : 0;
    return h_job(ctx, JOB_PIN, machine, owner, ret_job);
}

/* A whole pass goes on until it is cancelled. */
static int h_verify(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                    const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;
    (void)err;
    if (point)
        return h_job(ctx, JOB_VERIFY, machine, owner, ret_job);
    *ret_job = engine_job_new(w->engine, JOB_VERIFY, machine, owner);
    return 0;
}

static int h_cancel(void *ctx, const struct vr_uuid *job, struct vr_err *err)
{
    struct vr_err cancelled = VR_ERR_INIT;
    (void)err;
    vr_fail(&cancelled, VR_E_CANCELLED, 0, "cancelled");
    engine_job_end(((struct world *)ctx)->engine, job, &cancelled);
    return 0;
}

static int h_acknowledge(void *ctx, const struct vr_uuid *machine, const char *owner,
                         struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;
    if (engine_acknowledge(w->engine, machine, err) < 0)
        return -1;
    return h_job(w, JOB_VERIFY_NOTE, machine, owner, ret_job);
}

static int h_release(void *ctx, const struct vr_uuid *machine, const struct vr_point_id *point,
                     const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;
    (void)err;
    for (size_t i = 0; i < w->n_points; i++)
        if (vr_point_eq(&w->points[i].id, point))
            w->points[i].proof.quarantine = STORE_RELEASED;
    return h_job(w, JOB_VERIFY_NOTE, machine, owner, ret_job);
}

static bool h_proof(void *ctx, const struct vr_uuid *machine, struct host_proof *ret)
{
    (void)machine;
    *ret = ((struct world *)ctx)->proof;
    return true;
}

/* What was written must be readable after a restart: it is read again at once. */
static int h_save(void *ctx, const struct host_doc docs[], size_t n, const struct vr_uuid *machine,
                  const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;
    if (hostset_put_all(w->written, docs, n, err) < 0)
        return -1;
    return h_job(w, JOB_SERVICE_SETTINGS, machine, owner, ret_job);
}

/* The listener is there before the job is over, as it is asked for; but for one port that is taken.
 */
static int h_save_service(void *ctx, const char *text, const struct host_listen *want,
                          const char *owner, struct vr_uuid *ret_job, struct vr_err *err)
{
    struct world *w = ctx;
    uint16_t port = want->port;
    struct vr_err taken = VR_ERR_INIT;

    *ret_job = engine_job_new(w->engine, JOB_SERVICE_SETTINGS, NULL, owner);
    if (want->cert && port == TAKEN_PORT) {
        vr_fail(&taken, VR_E_BUSY, 0, "port %u is taken", port);
        engine_job_end(w->engine, ret_job, &taken);
        return 0;
    }
    if (hostset_put(w->host.set, HOSTSET_SERVICE, HOSTSET_SERVICE_ID, text, err) < 0 ||
        hostset_put(w->written, HOSTSET_SERVICE, HOSTSET_SERVICE_ID, text, err) < 0)
        return -1;
    w->listens = want->cert;
    w->listen = *want;
    w->host.peer_port = port;
    engine_job_end(w->engine, ret_job, NULL);
    return 0;
}

/* ---- fixture ---- */
static void make_machines(struct world *w)
{
    static const char *const guids[] = { WEB, DB, ODD };
    static const char *const names[] = { "web", "db", "odd" };
    static char network[] = "default", path[] = "/srv/disk.qcow2",
                note[] = "a CD-ROM is not replicated";

    w->disks[0] = (struct hv_disk){ .target = "vda",
                                    .path = path,
                                    .format = "qcow2",
                                    .size = 1 << 30,
                                    .trackable = true,
                                    .replicable = true };
    w->disks[1] = w->disks[0];
    strcpy(w->disks[1].target, "vdb");
    w->disks[2] = (struct hv_disk){ .target = "sda", .left_out = true, .note = note };
    w->disks[3] = w->disks[0];
    w->n_vms = 3;
    for (int i = 0; i < 3; i++) {
        vr_uuid_parse(guids[i], &w->vm[i].uuid, NULL);
        strcpy(w->vm[i].name, names[i]);
        w->vm[i].power = HV_POWER_OFF;
    }
    w->nics[0] = (struct hv_nic){ .mac = "52:54:00:aa:bb:01", .source = network };
    w->nics[1] = (struct hv_nic){ .mac = "52:54:00:aa:bb:02" };
    w->vm[0].nics = w->nics;
    w->vm[0].n_nics = 2;
    w->vm[0].disks = w->disks;
    w->vm[0].n_disks = 3;
    w->vm[2].disks = &w->disks[3];
    w->vm[2].n_disks = 1;
}

static struct engine_env make_env(struct world *w)
{
    return (struct engine_env){ .ctx = w,
                                .mono = env_mono,
                                .wall = env_wall,
                                .day_second = env_day_second,
                                .random = env_random,
                                .run = env_run,
                                .write_job = env_write_job,
                                .changed = env_changed };
}

int world_new(void **st)
{
    struct world *w = vr_new(struct world);
    struct engine_env env = make_env(w);

    w->mono = 1000;
    w->engine = engine_new(&env);
    w->who = (struct cim_caller){ "root", CIM_ROLE_ADMIN, true };
    make_machines(w);
    w->listens = true;
    strcpy(w->peer.name, "hostb");
    memset(w->peer.thumb, 'b', sizeof w->peer.thumb - 1);
    strcpy(w->peer.address, "192.0.2.2");
    w->peer.port = 4433;
    w->host = (struct host){ .ctx = w,
                             .engine = w->engine,
                             .name = "hosta",
                             .version = "1",
                             .thumb = "00",
                             .thumb_sha1 = OUR_THUMB,
                             .peer_port = 4433,
                             .cert_der_base64 = "MIIB",
                             .storage = "/srv",
                             .machines = h_machines,
                             .points = h_points,
                             .peers = h_peers,
                             .find_peer = h_find_peer,
                             .transfer = h_transfer,
                             .pair_code = h_pair_code,
                             .pair = h_pair,
                             .unpair = h_unpair,
                             .power = h_power,
                             .test_connection = h_test,
                             .kerberos_name = h_kerberos_name,
                             .verify = h_verify,
                             .cancel = h_cancel,
                             .acknowledge = h_acknowledge,
                             .release = h_release,
                             .proof = h_proof,
                             .save_service = h_save_service,
                             .pin = h_pin,
                             .ask_peer = h_ask_peer,
                             .discard = h_discard,
                             .save = h_save };
    w->host.set = hostset_new();
    w->written = hostset_new();
    w->cim = cim_server_new("hosta");
    w->prov = host_providers_register(w->cim, &w->host);
    *st = w;
    return 0;
}

void world_restart(struct world *w)
{
    struct engine_env env = make_env(w);
    struct vr_err err = VR_ERR_INIT;
    char id[VR_UUID_STR];
    size_t n = w->n_jobs; /* jobs may be written while they are loaded */

    engine_free(w->engine);
    w->n_queue = 0;
    w->engine = w->host.engine = engine_new(&env);
    if (w->rel_text && engine_load(w->engine, w->rel_text, &err) < 0)
        fail_msg("%s", err.msg);
    for (size_t i = 0; i < n; i++) {
        vr_autofree char *text = w->jobs[i].text ? vr_strdup(w->jobs[i].text) : NULL;
        if (text && engine_load_job(w->engine, vr_uuid_fmt(&w->jobs[i].id, id), text, &err) < 0)
            fail_msg("%s", err.msg);
    }
    engine_restart(w->engine);
}

int world_free(void **st)
{
    struct world *w = *st;

    free(w->rel_text);
    for (size_t i = 0; i < w->n_jobs; i++)
        free(w->jobs[i].text);

    cim_args_free(w->args);
    cim_server_free(w->cim);
    host_providers_free(w->prov);
    engine_free(w->engine);
    hostset_free(w->host.set);
    hostset_free(w->written);
    free(w);
    return 0;
}

/* ---- calls ---- */
static struct cim_path *parse_path(const char *text)
{
    struct cim_path *p = NULL;
    struct vr_err err = VR_ERR_INIT;

    if (cim_path_parse(text, &p, &err) < 0)
        fail_msg("%s: %s", text, err.msg);
    return p;
}

uint32_t call(struct world *w, const char *target, const char *method, const struct arg *args)
{
    vr_auto(cim_path_free) struct cim_path *path = parse_path(target);
    const struct cim_method *m = NULL;
    struct vr_err err = VR_ERR_INIT;
    uint32_t ret = 0;

    if (cim_find_method(path, method, &m, &err) != CIM_S_OK)
        fail_msg("%s: %s", method, err.msg);
    cim_args_free(w->args);
    w->args = cim_args_new(m);
    for (; args->name; args++)
        if (cim_value_put_text(cim_args_at(w->args, args->name), args->text, &err) < 0)
            fail_msg("%s.%s: %s", method, args->name, err.msg);
    w->status = cim_invoke(w->cim, &w->who, path, w->args, &ret, &err);
    if (w->status != CIM_S_OK)
        fail_msg("%s: %s", method, err.msg);
    if (cim_args_at(w->args, "Job"))
        assert_int_equal(ret == 4096, !!cim_args_ref(w->args, "Job"));
    return ret;
}

struct cim_inst *last_job(struct world *w)
{
    struct cim_inst *in = NULL;
    struct vr_err err = VR_ERR_INIT;

    if (cim_get(w->cim, &w->who, cim_args_ref(w->args, "Job"), &in, &err) != CIM_S_OK)
        fail_msg("%s", err.msg);
    return in;
}

void done(struct world *w, uint32_t code)
{
    if (code != 4096)
        fail_msg("refused with %u: %s", code, refusal(w));
    pump(w);
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    uint64_t state = cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_JOBSTATE, 0);
    if (state != 7 && state != 32768) /* with warnings; what clients take for good */
        fail_msg("job failed: %s", cim_inst_str(j, CIM_P_MSVM_CONCRETEJOB_ERRORDESCRIPTION));
}

unsigned job_error(struct world *w, uint32_t code)
{
    assert_int_equal(code, 4096);
    pump(w);
    vr_auto(cim_inst_free) struct cim_inst *j = last_job(w);
    assert_int_equal(cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_JOBSTATE, 0), 10);
    assert_non_null(cim_inst_str(j, CIM_P_MSVM_CONCRETEJOB_ERRORDESCRIPTION));
    return (unsigned)cim_inst_uint(j, CIM_P_MSVM_CONCRETEJOB_ERRORCODE, 0);
}

const char *refusal(struct world *w)
{
    static char text[512];
    struct cim_args *keep = w->args;

    w->args = NULL;
    assert_int_equal(CALL(w, "Vmr_Host=@", "LastRefusal"), 0);
    const char *msg = cim_args_str(w->args, "Message");
    snprintf(text, sizeof text, "%s", msg ? msg : "");
    cim_args_free(w->args);
    w->args = keep;
    return text;
}

/* Several elements of one name are an array. */
const char *frsd(const char *name, ...)
{
    static char xml[16384];
    size_t n =
        (size_t)snprintf(xml, sizeof xml, "<INSTANCE CLASSNAME=\"Msvm_ReplicationSettingData\">");
    va_list ap;

    va_start(ap, name);
    while (name) {
        bool is_array = !strcmp(name, "IncludedDisks");
        const char *v = va_arg(ap, const char *);
        n += (size_t)snprintf(xml + n, sizeof xml - n, "<PROPERTY%s NAME=\"%s\" TYPE=\"string\">%s",
                              is_array ? ".ARRAY" : "", name, is_array ? "<VALUE.ARRAY>" : "");
        const char *next = v ? va_arg(ap, const char *) : NULL;
        if (v && *v)
            n += (size_t)snprintf(xml + n, sizeof xml - n, "<VALUE>%s</VALUE>", v);
        if (!v)
            next = va_arg(ap, const char *);
        while (is_array && next && !strcmp(next, name)) {
            n += (size_t)snprintf(xml + n, sizeof xml - n, "<VALUE>%s</VALUE>",
                                  va_arg(ap, const char *));
            next = va_arg(ap, const char *);
        }
        n += (size_t)snprintf(xml + n, sizeof xml - n, "%s</PROPERTY%s>",
                              is_array ? "</VALUE.ARRAY>" : "", is_array ? ".ARRAY" : "");
        name = next;
    }
    va_end(ap);
    snprintf(xml + n, sizeof xml - n, "</INSTANCE>");
    return xml;
}

/* ---- reading ---- */
struct cim_inst *get(struct world *w, const char *path)
{
    vr_auto(cim_path_free) struct cim_path *p = parse_path(path);
    struct cim_inst *in = NULL;
    struct vr_err err = VR_ERR_INIT;

    if (cim_get(w->cim, &w->who, p, &in, &err) != CIM_S_OK)
        fail_msg("%s", err.msg);
    return in;
}

uint64_t num(struct world *w, const char *path, const char *prop)
{
    vr_auto(cim_inst_free) struct cim_inst *in = get(w, path);
    const struct cim_value *v = cim_inst_named(in, prop);

    assert_non_null(v);
    if (v->type == CIM_BOOLEAN)
        return cim_value_bool(v, false);
    return cim_value_uint(v, UINT64_MAX);
}

const char *txt(struct world *w, const char *path, const char *prop)
{
    static char buf[1024];
    vr_auto(cim_inst_free) struct cim_inst *in = get(w, path);
    const struct cim_value *v = cim_inst_named(in, prop);

    assert_non_null(v);
    vr_autofree char *text = v->n ? cim_value_text(v, 0) : NULL;
    snprintf(buf, sizeof buf, "%s", text ? text : "(null)");
    return buf;
}

unsigned state(struct world *w, const char *guid)
{
    char path[256];
    snprintf(path, sizeof path,
             "Msvm_ReplicationRelationship.InstanceID=\"Microsoft:%s\\\\HVR\\\\0\"", guid);
    return (unsigned)num(w, path, "ReplicationState");
}

unsigned mode(struct world *w, const char *guid)
{
    char path[256];
    snprintf(path, sizeof path, "Msvm_ComputerSystem.Name=\"%s\"", guid);
    return (unsigned)num(w, path, "ReplicationMode");
}

struct cim_list walk(struct world *w, const char *object, const char *assoc, const char *result)
{
    vr_auto(cim_path_free) struct cim_path *p = parse_path(object);
    struct cim_assoc how = { .assoc_class = assoc, .result_class = result };
    struct cim_list l = CIM_LIST_INIT;
    struct vr_err err = VR_ERR_INIT;

    if (cim_associators(w->cim, &w->who, p, &how, &l, &err) != CIM_S_OK)
        fail_msg("%s over %s: %s", object, assoc, err.msg);
    return l;
}

/* ---- situations ---- */
void make_ready(struct world *w)
{
    done(w, SVC(w, WEB, "CreateReplicationRelationship",
                { "ReplicationSettingData", frsd(GOOD, NULL) }));
    assert_int_equal(state(w, WEB), 1);
}

void make_replicating(struct world *w)
{
    make_ready(w);
    done(w, SVC(w, WEB, "StartReplication", { "InitialReplicationType", "1" }));
    assert_int_equal(state(w, WEB), 3);
}

static void on_reply(void *ctx, const struct rel *r, const struct vr_err *err)
{
    assert_null(err);
}

static void peer_creates(struct world *w)
{
    struct rel_event ev = { .type = EV_PEER_CREATE, .peer = "hostb", .name = "web", .n_disks = 2 };

    rel_settings_default(&ev.set);
    strcpy(ev.set.recovery_point, "hosta");
    strcpy(ev.set.primary_point, "hostb");
    strcpy(ev.set.thumbprint, PEER_THUMB);
    ev.set.recovery_port = 4433;
    strcpy(ev.disks[0].target, "vda");
    strcpy(ev.disks[1].target, "vdb");
    ev.lineage = vr_uuid_new();
    engine_peer_request(w->engine, &w->vm[0].uuid, &ev, on_reply, w);
    pump(w);
}

void make_being_made(struct world *w)
{
    w->hold = FX_MAKE_REPLICA;
    peer_creates(w);
    assert_int_equal(state(w, WEB), 0);
}

void make_waiting(struct world *w)
{
    peer_creates(w);
    assert_int_equal(state(w, WEB), 2);
}

static void receive(struct world *w, uint64_t epoch, enum vr_point_kind kind)
{
    const struct rel *r = engine_find(w->engine, &w->vm[0].uuid);
    struct rel_event ev = { .type = EV_RX_OPEN, .peer = "hostb", .lineage = r->lineage };
    struct vr_point_id id = { r->lineage, epoch };

    assert_int_equal(engine_rx_open(w->engine, &w->vm[0].uuid, &ev, NULL), 0);
    ev = (struct rel_event){ .type = EV_RX_COMMITTED, .point = id, .kind = kind, .n_disks = 2 };
    memcpy(ev.disks, r->disks, sizeof ev.disks);
    ev.instant = vr_wall_now();
    engine_event(w->engine, &w->vm[0].uuid, &ev);
    ev = (struct rel_event){ .type = EV_RX_ENDED };
    engine_event(w->engine, &w->vm[0].uuid, &ev);
    pump(w);
    w->points_of = w->vm[0].uuid;
    w->points[w->n_points++] =
        (struct store_point){ .id = id, .kind = kind, .instant = vr_wall_now(), .bytes = 65536 };
}

void make_replica(struct world *w)
{
    make_waiting(w);
    receive(w, 1, VR_POINT_STANDARD);
    receive(w, 2, VR_POINT_PLANNED);
    assert_int_equal(state(w, WEB), 3);
}

void make_failed_over(struct world *w)
{
    make_replica(w);
    done(w, SVC(w, WEB, "InitiateFailover"));
    assert_int_equal(state(w, WEB), 5);
}
