/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domain documents of libvirt: what a machine has, and the definition of its replica.
 *
 * Keeps whatever it does not know as it is. Nothing is fetched, entities
 * are not expanded, a document type is refused. Thread: any. */
#include "domxml.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/log.h"
#include "domxml_priv.h"
#include "hostfile.h"

static void quiet(void *ctx, const char *fmt, ...)
{
    (void)ctx;
    (void)fmt;
}

static void init_once(void)
{
    xmlInitParser();
}

static xmlDocPtr parse(const char *xml, const char *root, struct vr_err *err)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, init_once);
    size_t n = strlen(xml);
    if (n > DOMXML_MAX) {
        vr_fail(err, VR_E_LIMIT, 0, "the %s document has %zu bytes", root, n);
        return NULL;
    }
    xmlSetGenericErrorFunc(NULL, quiet); /* per thread */
    vr_auto(xmlFreeDoc) xmlDocPtr doc = xmlReadMemory(xml, (int)n, NULL, NULL,
                                                      XML_PARSE_NONET | XML_PARSE_NOERROR |
                                                          XML_PARSE_NOWARNING | XML_PARSE_NOBLANKS);
    xmlNodePtr r = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!r || doc->intSubset || strcmp((const char *)r->name, root) != 0) {
        vr_fail(err, VR_E_INVAL, 0, "not a <%s> document", root);
        return NULL;
    }
    return vr_take(doc);
}

/* Copy the text of @from into @to of @n bytes, cut nowhere: VR_E_LIMIT. */
static int copy_text(const char *what, const xmlChar *from, char *to, size_t n, struct vr_err *err)
{
    if (!from || !*from)
        return vr_fail(err, VR_E_INVAL, 0, "the domain has no %s", what);
    size_t len = strlen((const char *)from);
    if (len >= n)
        return vr_fail(err, VR_E_LIMIT, 0, "%s is longer than %zu bytes", what, n - 1);
    memcpy(to, from, len + 1);
    return 0;
}

static uint64_t number(const xmlChar *s)
{
    char *end;
    errno = 0;
    unsigned long long v = s ? strtoull((const char *)s, &end, 10) : 0;
    return errno ? 0 : v;
}

/* Why the disk cannot be replicated, NULL if it can; *ret_left_out: it is no loss. */
static const char *not_replicable(const xmlNode *d, bool *ret_left_out)
{
    *ret_left_out = true;
    if (attr_is(d, "device", "cdrom"))
        return "a CD-ROM";
    if (attr_is(d, "device", "floppy"))
        return "a floppy disk";
    if (child(d, "readonly"))
        return "read-only";
    if (child(d, "transient"))
        return "transient: its content is dropped at every stop";
    *ret_left_out = false;
    if (attr_is(d, "device", "lun"))
        return "a passed-through SCSI unit";
    if (child(d, "shareable"))
        return "shared with other machines";
    if (attr_is(d, "type", "network"))
        return "a network disk";
    if (attr_is(d, "type", "volume"))
        return "named through a storage pool: give its path instead";
    if (!attr_is(d, "type", "file") && !attr_is(d, "type", "block"))
        return "of a kind that cannot be read from outside";
    xmlNodePtr src = child(d, "source");
    if (!src ||
        (!xmlHasProp(src, (const xmlChar *)"file") && !xmlHasProp(src, (const xmlChar *)"dev")))
        return "without an image";
    return NULL;
}

static int parse_disk(const xmlNode *d, struct hv_disk *ret, struct vr_err *err)
{
    xstr target = attr(child(d, "target"), "dev");
    if (copy_text("disk target", target, ret->target, sizeof ret->target, err) < 0)
        return -1;
    xstr type = attr(child(d, "driver"), "type");
    snprintf(ret->format, sizeof ret->format, "%s", type ? (const char *)type : "raw");
    xstr file = attr(child(d, "source"), "file");
    xstr dev = attr(child(d, "source"), "dev");
    if (file || dev)
        ret->path = vr_strdup((const char *)(file ? file : dev));
    const char *why = not_replicable(d, &ret->left_out);
    ret->replicable = !why;
    ret->trackable = !why && strcmp(ret->format, "qcow2") == 0;
    if (why)
        ret->note = vr_strdup(why);
    else if (!ret->trackable)
        ret->note = vr_printf("format %s keeps no dirty bitmaps: changes are found by digests",
                              ret->format);
    return 0;
}

static void parse_nic(const xmlNode *n, struct hv_nic *ret)
{
    xstr mac = attr(child(n, "mac"), "address");
    xstr model = attr(child(n, "model"), "type");
    snprintf(ret->mac, sizeof ret->mac, "%s", mac ? (const char *)mac : "");
    snprintf(ret->model, sizeof ret->model, "%s", model ? (const char *)model : "");
    xmlNodePtr src = child(n, "source");
    static const char *const keys[] = { "network", "bridge", "dev" };
    for (size_t i = 0; src && !ret->source && i < VR_ARRAY_LEN(keys); i++) {
        xstr v = attr(src, keys[i]);
        if (v)
            ret->source = vr_strdup((const char *)v);
    }
}

static int parse_devices(const xmlNode *devices, struct hv_machine *m, struct vr_err *err)
{
    size_t n_disks = count(devices, "disk"), n_nics = count(devices, "interface");
    if (n_disks > VR_DISKS_MAX || n_nics > 256)
        return vr_fail(err, VR_E_LIMIT, 0, "%s has %zu disks and %zu network cards", m->name,
                       n_disks, n_nics);
    m->disks = vr_new0(n_disks ? n_disks : 1, sizeof *m->disks);
    m->nics = vr_new0(n_nics ? n_nics : 1, sizeof *m->nics);
    for (xmlNodePtr d = child(devices, "disk"); d; d = again(d)) {
        if (parse_disk(d, &m->disks[m->n_disks++], err) < 0)
            return -1;
    }
    for (xmlNodePtr n = child(devices, "interface"); n; n = again(n))
        parse_nic(n, &m->nics[m->n_nics++]);
    return 0;
}

int domxml_parse(const char *xml, struct hv_machine *ret, struct vr_err *err)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domain", err);
    if (!doc)
        return -1;
    xmlNodePtr root = xmlDocGetRootElement(doc);
    struct hv_machine m = { .power = HV_POWER_OTHER };
    xstr name = xmlNodeGetContent(child(root, "name"));
    xstr uuid = xmlNodeGetContent(child(root, "uuid"));
    xstr memory = xmlNodeGetContent(child(root, "memory"));
    xstr unit = attr(child(root, "memory"), "unit");
    xstr vcpu = xmlNodeGetContent(child(root, "vcpu"));
    if (copy_text("name", name, m.name, sizeof m.name, err) < 0 ||
        vr_uuid_parse(uuid ? (const char *)uuid : "", &m.uuid, err) < 0)
        return -1;
    m.memory_kib = domxml_kib((const char *)unit, number(memory));
    uint64_t cpus = vcpu ? number(vcpu) : 1;
    m.vcpus = cpus > UINT_MAX ? 0 : (unsigned)cpus;
    domxml_platform(root, &m);
    if (parse_devices(child(root, "devices"), &m, err) < 0) {
        hv_machine_done(&m);
        return -1;
    }
    *ret = m;
    return 0;
}

int domxml_owner(const char *xml, uid_t *ret_uid, gid_t *ret_gid, struct vr_err *err)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domain", err);
    if (!doc)
        return -1;
    xmlNodePtr root = xmlDocGetRootElement(doc);
    for (xmlNodePtr s = child(root, "seclabel"); s; s = again(s)) {
        if (!attr_is(s, "model", "dac"))
            continue;
        xstr label = child(s, "label") ? xmlNodeGetContent(child(s, "label")) : NULL;
        unsigned u, g;
        if (label && sscanf((const char *)label, "+%u:+%u", &u, &g) == 2) {
            *ret_uid = u;
            *ret_gid = g;
            return 0;
        }
    }
    return vr_fail(err, VR_E_NOTFOUND, 0, "the machine has no DAC label");
}

int domxml_backing(const char *xml, const char *target, int depth, char **ret, struct vr_err *err)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domain", err);
    if (!doc)
        return -1;
    xmlNodePtr at = child(child(xmlDocGetRootElement(doc), "devices"), "disk");
    while (at && !attr_is(child(at, "target"), "dev", target))
        at = again(at);
    for (; at && depth > 0; depth--)
        at = child(at, "backingStore");
    if (!at)
        return 0;
    xstr file = attr(child(at, "source"), "file");
    xstr dev = attr(child(at, "source"), "dev");
    *ret = vr_strdup((const char *)(file ? file : dev));
    return 1;
}

/* ---- the definition of a replica ---- */

static const struct hv_disk_path *find_path(const struct hv_disk_path *paths, size_t n,
                                            const char *target)
{
    for (size_t i = 0; i < n; i++)
        if (paths[i].path && strcmp(paths[i].target, target) == 0)
            return &paths[i];
    return NULL;
}

/* Point the disk at a qcow2 file: whatever the original's image was, the replica's is ours. */
static void edit_disk(xmlNodePtr d, const char *path)
{
    static const char *const gone[] = { "source", "backingStore", "mirror", "auth", "encryption" };
    for (size_t i = 0; i < VR_ARRAY_LEN(gone); i++)
        drop_children(d, gone[i]);
    set_attr(d, "type", "file");
    xmlNodePtr driver = child(d, "driver");
    if (!driver) {
        driver = xmlNewNode(NULL, (const xmlChar *)"driver");
        set_attr(driver, "name", "qemu");
        if (d->children)
            xmlAddPrevSibling(d->children, driver);
        else
            xmlAddChild(d, driver);
    }
    set_attr(driver, "type", "qcow2");
    xmlNodePtr source = xmlNewNode(NULL, (const xmlChar *)"source");
    set_attr(source, "file", path);
    xmlAddNextSibling(driver, source);
}

static int edit_disks(xmlNodePtr devices, const struct hv_disk_path *paths, size_t n,
                      struct vr_err *err)
{
    size_t done = 0, wanted = 0;
    for (size_t i = 0; i < n; i++)
        wanted += paths[i].path != NULL;
    for (xmlNodePtr d = child(devices, "disk"), next; d; d = next) {
        next = again(d);
        xstr target = attr(child(d, "target"), "dev");
        const struct hv_disk_path *p = target ? find_path(paths, n, (const char *)target) : NULL;
        if (p && p->path) {
            if (*p->path) /* "": stays as it is */
                edit_disk(d, p->path);
            done++;
        } else {
            drop(d);
        }
    }
    if (done != wanted)
        return vr_fail(err, VR_E_NOTFOUND, 0, "%zu of %zu disks are not in the definition",
                       wanted - done, wanted);
    return 0;
}

/* What two machines on one host cannot share. */
static void edit_identity(xmlNodePtr root, const char *uuid)
{
    xmlNodePtr sysinfo = child(root, "sysinfo");
    for (xmlNodePtr e = child(child(sysinfo, "system"), "entry"); e; e = again(e))
        if (attr_is(e, "name", "uuid"))
            set_text(e, uuid);
    xmlNodePtr nvram = child(child(root, "os"), "nvram");
    if (nvram) {
        drop_children(nvram, "source");
        if (xmlHasProp(nvram, (const xmlChar *)"template"))
            xmlNodeSetContent(nvram, NULL);
        else
            drop(nvram); /* libvirt names one after the machine */
    }
    xmlNodePtr genid = child(root, "genid");
    if (genid)
        xmlNodeSetContent(genid, NULL);
    xmlNodePtr devices = child(root, "devices");
    for (xmlNodePtr g = child(devices, "graphics"); g; g = again(g)) {
        if (!xmlHasProp(g, (const xmlChar *)"port"))
            continue;
        xmlUnsetProp(g, (const xmlChar *)"port");
        xmlUnsetProp(g, (const xmlChar *)"tlsPort");
        set_attr(g, "autoport", "yes");
    }
}

/* ---- what a definition from another host must not bring along ----
 * QEMU is started with what the definition says, libvirt gives the files that it names to QEMU's
 * user: whoever sends a definition could read, change or run anything here. So files and devices of
 * the host are left out unless they are known to be harmless. */

struct strip {
    struct vr_buf gone; /* for the log: what was left out */
};

static void stripped(struct strip *s, const xmlNode *n, const char *what)
{
    vr_buf_printf(&s->gone, NULL, "%s<%.40s>%s%s", s->gone.len ? ", " : "", (const char *)n->name,
                  what ? " " : "", what ? what : "");
}

static void strip_node(struct strip *s, xmlNodePtr n, const char *what)
{
    if (n) {
        stripped(s, n, what);
        drop(n);
    }
}

static void strip_all(struct strip *s, xmlNodePtr of, const char *name)
{
    for (xmlNodePtr n; (n = child(of, name));)
        strip_node(s, n, NULL);
}

static void strip_attr(struct strip *s, xmlNodePtr n, const char *name)
{
    if (n && xmlHasProp(n, (const xmlChar *)name)) {
        stripped(s, n, name);
        xmlUnsetProp(n, (const xmlChar *)name);
    }
}

static void strip_os(struct strip *s, xmlNodePtr os)
{
    static const char *const files[] = { "kernel", "initrd", "dtb", "loader" };
    for (size_t i = 0; i < VR_ARRAY_LEN(files); i++) {
        xmlNodePtr n = child(os, files[i]);
        xstr path = n ? xmlNodeGetContent(n) : NULL;
        bool fine = !path || !*path ||
                    (is(n, "loader") ? hostfile_is_firmware((const char *)path)
                                     : hostfile_is_public((const char *)path));
        if (!fine)
            strip_node(s, n, (const char *)path);
    }
    xmlNodePtr nvram = child(os, "nvram");
    xstr at = nvram ? xmlNodeGetContent(nvram) : NULL;
    xstr template = attr(nvram, "template");
    if (nvram && (child(nvram, "source") || (at && *at && !hostfile_is_nvram((const char *)at)) ||
                  (template && !hostfile_is_firmware((const char *)template))))
        strip_node(s, nvram, NULL);
    if (os)
        strip_all(s, os, "acpi"); /* tables out of files */
}

static const char *const char_devices[] = { "serial", "parallel", "console", "channel" };

/* Character devices of files, devices and sockets of the host become a terminal that only the
 * host's administrator can open; a guest agent's channel gets the path that libvirt chooses. */
static void strip_chardev(struct strip *s, xmlNodePtr n)
{
    static const char *const fine[] = {
        "pty", "null", "vc", "spicevmc", "spiceport", "qemu-vdagent"
    };
    xstr type = attr(n, "type");
    xmlNodePtr log = child(n, "log");
    xstr log_file = attr(log, "file");
    if (log && !hostfile_is_log((const char *)log_file))
        strip_node(s, log, (const char *)log_file);
    for (size_t i = 0; i < VR_ARRAY_LEN(fine); i++)
        if (type && strcmp((const char *)type, fine[i]) == 0)
            return;
    xmlNodePtr source = child(n, "source");
    xstr path = attr(source, "path");
    if (type && strcmp((const char *)type, "file") == 0 && hostfile_is_log((const char *)path))
        return;
    stripped(s, n, path ? (const char *)path : (const char *)type);
    drop_children(n, "source");
    drop_children(n, "protocol");
    if (!(attr_is(n, "type", "unix") && is(n, "channel")))
        set_attr(n, "type", "pty");
}

static void strip_rng(struct strip *s, xmlNodePtr n)
{
    xmlNodePtr backend = child(n, "backend");
    xstr path = backend ? xmlNodeGetContent(backend) : NULL;
    bool fine = attr_is(backend, "model", "builtin") ||
                (attr_is(backend, "model", "random") &&
                 (!path || !*path || strcmp((const char *)path, "/dev/urandom") == 0 ||
                  strcmp((const char *)path, "/dev/random") == 0 ||
                  strcmp((const char *)path, "/dev/hwrng") == 0));
    if (fine)
        return;
    stripped(s, n, (const char *)path);
    for (xmlNodePtr b; (b = child(n, "backend"));)
        drop(b);
    backend = xmlNewTextChild(n, NULL, (const xmlChar *)"backend", (const xmlChar *)"/dev/urandom");
    set_attr(backend, "model", "random");
}

/* Cards that reach the host by other ways than a network or bridge; programs run for a card. */
static void strip_nic(struct strip *s, xmlNodePtr n)
{
    static const char *const fine[] = { "network", "bridge", "user", "direct", "internal" };
    bool ok = false;
    for (size_t i = 0; i < VR_ARRAY_LEN(fine); i++)
        ok |= attr_is(n, "type", fine[i]);
    strip_all(s, n, "script");
    strip_all(s, n, "downscript");
    strip_all(s, n, "backend");
    if (ok)
        return;
    xstr type = attr(n, "type");
    stripped(s, n, (const char *)type);
    drop_children(n, "source");
    drop_children(n, "driver");
    drop_children(n, "target");
    drop_children(n, "link");
    set_attr(n, "type", "user");
    set_attr(xmlNewChild(n, NULL, (const xmlChar *)"link", NULL), "state", "down");
}

static bool is_bad_device(const xmlNode *n)
{
    static const char *const bad[] = { "hostdev", "filesystem", "smartcard", "redirdev",
                                       "shmem",   "lease",      "pstore" };
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++)
        if (is(n, bad[i]))
            return true;
    if (is(n, "audio")) /* libvirt itself writes the first one */
        return !attr_is(n, "type", "none") && !attr_is(n, "type", "spice");
    if (is(n, "memory"))
        return !attr_is(n, "model", "dimm") && !attr_is(n, "model", "virtio-mem");
    if (is(n, "input"))
        return attr_is(n, "type", "passthrough") || attr_is(n, "type", "evdev");
    if (is(n, "tpm"))
        return !attr_is(child(n, "backend"), "type", "emulator");
    return false;
}

static void strip_device(struct strip *s, xmlNodePtr n)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(char_devices); i++)
        if (is(n, char_devices[i]))
            strip_chardev(s, n);
    if (is(n, "emulator")) {
        xstr path = xmlNodeGetContent(n);
        if (!hostfile_is_emulator((const char *)path))
            strip_node(s, n, (const char *)path);
    } else if (is(n, "rng")) {
        strip_rng(s, n);
    } else if (is(n, "interface")) {
        strip_nic(s, n);
    } else if (is(n, "graphics")) {
        strip_attr(s, n, "socket");
        strip_attr(s, child(n, "gl"), "rendernode");
        for (xmlNodePtr l = child(n, "listen"); l; l = again(l))
            strip_attr(s, l, "socket");
    } else if (is(n, "video")) {
        strip_attr(s, child(child(n, "model"), "acceleration"), "rendernode");
    } else if (is(n, "tpm")) {
        drop_children(child(n, "backend"), "source");
    }
}

static void strip(struct strip *s, xmlNodePtr root)
{
    static const char *const gone[] = { "seclabel", "bootloader", "bootloader_args", "resource" };
    for (xmlNodePtr n = root->children, next; n; n = next) {
        next = n->next;
        if (n->type == XML_ELEMENT_NODE && n->ns) /* <qemu:commandline> and its like */
            strip_node(s, n, NULL);
    }
    for (size_t i = 0; i < VR_ARRAY_LEN(gone); i++)
        strip_all(s, root, gone[i]);
    for (xmlNodePtr i = child(root, "sysinfo"), next; i; i = next) {
        next = again(i);
        if (attr_is(i, "type", "fwcfg")) /* entries out of files */
            strip_node(s, i, NULL);
    }
    strip_os(s, child(root, "os"));
    for (xmlNodePtr n = child(root, "devices")->children, next; n; n = next) {
        next = n->next;
        if (is_bad_device(n))
            strip_node(s, n, NULL);
        else if (n->type == XML_ELEMENT_NODE)
            strip_device(s, n);
    }
}

static xmlNodePtr need_child(xmlNodePtr of, const char *name)
{
    xmlNodePtr n = child(of, name);
    return n ? n : xmlNewChild(of, NULL, (const xmlChar *)name, NULL);
}

static int print(xmlDocPtr doc, char **ret, struct vr_err *err)
{
    xmlChar *text = NULL;
    int n = 0;
    xmlDocDumpFormatMemoryEnc(doc, &text, &n, "UTF-8", 1);
    if (!text)
        return vr_fail(err, VR_E_NOMEM, 0, "cannot print the definition");
    *ret = vr_strndup((const char *)text, (size_t)n);
    xmlFree(text);
    return 0;
}

/* Two machines cannot write one log: a copy's bears its own name. */
static void edit_logs(xmlNodePtr devices, const char *old, const char *name)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(char_devices); i++)
        for (xmlNodePtr n = child(devices, char_devices[i]); n; n = again(n)) {
            xmlNodePtr source = attr_is(n, "type", "file") ? child(n, "source") : NULL;
            xstr path = attr(source, "path");
            const char *base = path ? strrchr((const char *)path, '/') : NULL;
            drop_children(n, "log");
            if (!base)
                continue;
            size_t len = strlen(old);
            bool named = len && strncmp(base + 1, old, len) == 0;
            vr_autofree char *now =
                vr_printf("%.*s/%s%s%s", (int)(base - (const char *)path), (const char *)path, name,
                          named ? "" : "-", named ? base + 1 + len : base + 1);
            set_attr(source, "path", now);
        }
}

static int check_complete(xmlNodePtr root, struct vr_err *err)
{
    if (!child(root, "devices") || !child(root, "name") || !child(root, "uuid"))
        return vr_fail(err, VR_E_INVAL, 0, "the definition lacks its name, uuid or devices");
    xmlUnsetProp(root, (const xmlChar *)"id");
    return 0;
}

static void strip_and_tell(xmlNodePtr root)
{
    struct strip s = { .gone = { .max = 8192 } };
    strip(&s, root);
    for (size_t i = 0; i < s.gone.len; i++)
        if (s.gone.data[i] < ' ') /* texts of a stranger */
            s.gone.data[i] = '?';
    if (s.gone.len)
        vr_log(VR_LOG_WARN, "definition received: left out of it for this host's safety: %.*s",
               (int)s.gone.len, (const char *)s.gone.data);
    vr_buf_done(&s.gone);
}

static void edit_copy(xmlNodePtr root, const char *name, const struct vr_uuid *uuid)
{
    char text[VR_UUID_STR];
    xstr old = xmlNodeGetContent(child(root, "name"));
    vr_uuid_fmt(uuid, text);
    set_text(need_child(root, "uuid"), text);
    edit_identity(root, text);
    if (name)
        edit_logs(child(root, "devices"), (const char *)old, name);
}

int domxml_replica(const char *xml, const char *name, const struct vr_uuid *uuid, bool disconnect,
                   const struct hv_disk_path *paths, size_t n_paths, char **ret, struct vr_err *err)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domain", err);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!doc || check_complete(root, err) < 0)
        return -1;
    xmlNodePtr devices = child(root, "devices");
    if (edit_disks(devices, paths, n_paths, err) < 0)
        return -1;
    strip_and_tell(root);
    if (uuid)
        edit_copy(root, name, uuid);
    if (name)
        set_text(need_child(root, "name"), name);
    domxml_edit_nics(devices, uuid != NULL, disconnect);
    return print(doc, ret, err);
}

int domxml_own(const char *xml, const struct hv_disk_path *paths, size_t n_paths, char **ret,
               struct vr_err *err)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domain", err);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!doc || check_complete(root, err) < 0 ||
        edit_disks(child(root, "devices"), paths, n_paths, err) < 0)
        return -1;
    return print(doc, ret, err);
}

int domxml_on_networks(const char *xml, const struct hv_nic_net *nets, size_t n_nets, char **ret,
                       struct vr_err *err)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domain", err);
    xmlNodePtr root = doc ? xmlDocGetRootElement(doc) : NULL;
    if (!doc || check_complete(root, err) < 0)
        return -1;
    domxml_nics_on(child(root, "devices"), nets, n_nets);
    return print(doc, ret, err);
}

/* ---- reading backup and checkpoint documents ---- */

int domxml_backup_socket(const char *xml, char **ret, struct vr_err *err)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domainbackup", err);
    if (!doc)
        return -1;
    xstr socket = attr(child(xmlDocGetRootElement(doc), "server"), "socket");
    *ret = vr_strdup((const char *)socket);
    return 0;
}

int domxml_agent(const char *xml, struct vr_err *err)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domain", err);
    if (!doc)
        return -1;
    xmlNodePtr devices = child(xmlDocGetRootElement(doc), "devices");
    for (xmlNodePtr c = child(devices, "channel"); c; c = again(c)) {
        xmlNodePtr target = child(c, "target");
        if (attr_is(target, "name", "org.qemu.guest_agent.0"))
            return attr_is(target, "state", "connected") ? 2 : 1;
    }
    return 0;
}

bool domxml_checkpoint_has(const char *xml, const char *target, bool sized)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domaincheckpoint", NULL);
    if (!doc)
        return false;
    xmlNodePtr disks = child(xmlDocGetRootElement(doc), "disks");
    for (xmlNodePtr d = child(disks, "disk"); d; d = again(d))
        if (attr_is(d, "name", target))
            return attr_is(d, "checkpoint", "bitmap") &&
                   (!sized || xmlHasProp(d, (const xmlChar *)"size"));
    return false;
}

bool domxml_checkpoint_size(const char *xml, uint64_t *ret)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domaincheckpoint", NULL);
    xmlNodePtr d = doc ? child(child(xmlDocGetRootElement(doc), "disks"), "disk") : NULL;
    for (*ret = 0; d; d = again(d)) {
        xstr size = xmlGetProp(d, (const xmlChar *)"size");
        if (attr_is(d, "checkpoint", "bitmap") && !size)
            return false;
        *ret += size ? number(size) : 0;
    }
    return doc != NULL;
}

char *domxml_checkpoint_note(const char *xml)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domaincheckpoint", NULL);
    xmlNodePtr note = doc ? child(xmlDocGetRootElement(doc), "description") : NULL;
    xstr text = note ? xmlNodeGetContent(note) : NULL;
    return text ? vr_strdup((const char *)text) : NULL;
}

int64_t domxml_checkpoint_created(const char *xml)
{
    vr_auto(xmlFreeDoc) xmlDocPtr doc = parse(xml, "domaincheckpoint", NULL);
    xstr text = doc ? xmlNodeGetContent(child(xmlDocGetRootElement(doc), "creationTime")) : NULL;
    uint64_t v = number(text);
    return v > INT64_MAX ? 0 : (int64_t)v;
}
