/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The host's identity on disk. The key is written before the certificate, each to a temporary file
 * that is synced and renamed, so a crash leaves nothing, a key alone (a certificate is then made
 * for it) or both. A key that others could have read is not used: whoever read it is this host. */
#include "transport/ident.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/cleanup.h"
#include "transport/tls_gnutls.h"

enum { IDENT_MAX = 256 * 1024 }; /* bytes of a certificate chain or key in PEM */

static int read_all(int fd, const char *path, struct vr_buf *to, struct vr_err *err)
{
    char part[4096];
    to->max = IDENT_MAX;
    for (;;) {
        ssize_t n = read(fd, part, sizeof part);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return vr_fail(err, VR_E_IO, errno, "cannot read %s", path);
        if (n == 0)
            return 0;
        if (vr_buf_add(to, part, (size_t)n, err) < 0)
            return vr_err_wrap(err, "%s", path);
    }
}

/* Read @path; a missing file is no error, it leaves @to empty. */
static int load_file(const char *path, bool secret, struct vr_buf *to, struct vr_err *err)
{
    struct stat st;
    vr_autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (fd < 0 && errno == ENOENT)
        return 0;
    if (fd < 0)
        return vr_fail(err, errno == EACCES ? VR_E_DENIED : VR_E_IO, errno, "cannot open %s", path);
    if (fstat(fd, &st) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot look at %s", path);
    if (!S_ISREG(st.st_mode))
        return vr_fail(err, VR_E_INVAL, 0, "%s is not a file", path);
    if (secret && (st.st_mode & 077))
        return vr_fail(err, VR_E_DENIED, 0,
                       "%s can be read or written by others (mode %04o): if nobody did, make it "
                       "0600; otherwise remove it together with the certificate and pair anew",
                       path, st.st_mode & 07777);
    if (secret && st.st_uid != geteuid() && st.st_uid != 0)
        return vr_fail(err, VR_E_DENIED, 0, "%s belongs to user %u", path, st.st_uid);
    if (read_all(fd, path, to, err) < 0)
        return -1;
    if (!to->len)
        return vr_fail(err, VR_E_INVAL, 0, "%s is empty", path);
    return 0;
}

static int write_all(int fd, const struct vr_buf *b)
{
    for (size_t at = 0; at < b->len;) {
        ssize_t n = write(fd, b->data + at, b->len - at);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        at += (size_t)n;
    }
    return 0;
}

static int save_file(const char *dir, const char *path, mode_t mode, const struct vr_buf *b,
                     struct vr_err *err)
{
    vr_autofree char *tmp = vr_printf("%s.new", path);
    if (unlink(tmp) < 0 && errno != ENOENT)
        return vr_fail(err, VR_E_IO, errno, "cannot remove %s", tmp);
    vr_autoclose int fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
    if (fd < 0)
        return vr_fail(err, vr_kind_from_errno(errno), errno, "cannot make %s", tmp);
    if (write_all(fd, b) < 0 || fchmod(fd, mode) < 0 || fsync(fd) < 0 || rename(tmp, path) < 0) {
        vr_fail(err, vr_kind_from_errno(errno), errno, "cannot write %s", path);
        unlink(tmp);
        return -1;
    }
    vr_autoclose int dfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dfd < 0 || fsync(dfd) < 0)
        return vr_fail(err, VR_E_IO, errno, "cannot sync %s", dir);
    return 0;
}

static int make(const char *dir, const char *crt_path, const char *key_path, const char *host_name,
                struct vr_buf *crt, struct vr_buf *key, struct vr_err *err)
{
    bool had_key = key->len > 0;
    if (tls_make_cert(host_name, key, crt, err) < 0)
        return -1;
    if (!had_key && save_file(dir, key_path, 0600, key, err) < 0)
        return -1;
    return save_file(dir, crt_path, 0644, crt, err);
}

int ident_load(const char *dir, const char *host_name, struct tls_identity **ret,
               struct vr_err *err)
{
    vr_autofree char *crt_path = vr_printf("%s/host.crt", dir);
    vr_autofree char *key_path = vr_printf("%s/host.key", dir);
    vr_autobuf struct vr_buf crt = VR_BUF_INIT, key = VR_BUF_INIT;
    int rc = -1;
    if (load_file(key_path, true, &key, err) < 0 || load_file(crt_path, false, &crt, err) < 0)
        goto out;
    if (crt.len && !key.len) {
        vr_fail(err, VR_E_NOFILE, 0,
                "%s is missing: restore it, or remove %s too and pair with all peers anew",
                key_path, crt_path);
        goto out;
    }
    if (!crt.len && make(dir, crt_path, key_path, host_name, &crt, &key, err) < 0)
        goto out;
    rc = tls_identity_new((const char *)crt.data, (const char *)key.data, ret, err);
    if (rc < 0)
        vr_err_wrap(err, "%s", dir);
out:
    if (key.data)
        explicit_bzero(key.data, key.cap);
    return rc;
}
