/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Transfers of closed images whose data is read from their files. Where that is possible the server
 * behind the export offers other bytes, which must not arrive; where it is not, all comes from the
 * server. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/proc.h"
#include "base/uuid.h"
#include "transfer/digestlog.h"
#include "transfer/imagemap.h"
#include "transfer/test-stream.h"
#include "transfer/xfer.h"

#include "transfer/test-xfer-kit.h"

enum { MIB = 1 << 20 };

static char *random_raw(const char *name, uint64_t size)
{
    char *path = file(name);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    for (uint64_t at = 0; at < size; at += BS)
        put_bytes(fd, at / BS, size - at < BS ? (size_t)(size - at) : BS, 1);
    assert_int_equal(close(fd), 0);
    return path;
}

/* An image of the same size full of other bytes. */
static char *decoy(uint64_t size)
{
    char *path = file("decoy.raw");
    vr_autofree char *n = num(size),
                     *write = vr_printf("write -P 0xee 0 %llu", (unsigned long long)size);
    unlink(path);
    RUN("qemu-img", "create", "-q", "-f", "raw", path, n);
    qemu_io_as("raw", path, write);
    return path;
}

/* Ship @image, which the export of @served stands for, and see @truth arrive. */
static void ships(const char *image, const char *format, const char *served,
                  const char *served_format, const char *truth, uint64_t size)
{
    vr_autofree char *dst = make_fresh("dst.img", size);
    vr_autofree char *table = file("dst.dig");
    unlink(table);
    struct server s = serve(served, served_format, NULL);
    struct xfer_send_disk sd = from(&s, size, XFER_ALL, NULL);
    struct xfer_recv_disk rd = fresh_disk(dst, table, size);
    struct transfer t = transfer_new();
    sd.image = image;
    sd.format = format;
    transfer_run(&t, &sd, &rd, 1);
    assert_done(&t);
    unserve(&s);
    assert_same(truth, "raw", dst, fresh_format());
    assert_table_true(table, truth, size);
}

static void plain_images_are_read_from_their_files(void **state)
{
    (void)state;
    const uint64_t size = 40 * MIB + 7 * 512;
    vr_autofree char *raw = random_raw("src.raw", size);
    vr_autofree char *q = to_qcow2(raw, "src.qcow2");
    vr_autofree char *small = file("small.qcow2");
    vr_autofree char *other = decoy(size);
    /* Windows are 32 MiB of disk with such clusters. */
    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", "cluster_size=2k", raw, small);
    ships(raw, "raw", other, "raw", raw, size);
    ships(q, "qcow2", other, "raw", raw, size);
    ships(small, "qcow2", other, "raw", raw, size);
}

/* Written from the end to the beginning: neighbours on the disk are none in the file. */
static void scattered_clusters_are_put_together(void **state)
{
    (void)state;
    const uint64_t size = 4 * MIB;
    vr_autofree char *q = make_qcow2("src.qcow2", size, NULL);
    vr_autofree char *raw = file("truth.raw"), *other = decoy(size);
    for (uint64_t at = size; at; at -= BS) {
        vr_autofree char *w = vr_printf("write -P %u %llu 64k", (unsigned)(at / BS % 200 + 1),
                                        (unsigned long long)(at - BS));
        qemu_io(q, w);
    }
    RUN("qemu-img", "convert", "-f", "qcow2", "-O", "raw", q, raw);
    ships(q, "qcow2", other, "raw", raw, size);

    /* Clusters smaller than blocks and in more pieces than a unit can have go through the server.
     */
    RUN("qemu-img", "create", "-q", "-f", "qcow2", "-o", "cluster_size=4k", q, "1M");
    for (unsigned at = 256; at; at--) {
        vr_autofree char *w = vr_printf("write -P %u %uk 4k", at % 200 + 1, 4 * (at - 1));
        qemu_io(q, w);
    }
    RUN("qemu-img", "convert", "-f", "qcow2", "-O", "raw", q, raw);
    ships(q, "qcow2", q, "qcow2", raw, MIB);
}

static void the_rest_comes_from_the_server(void **state)
{
    (void)state;
    const uint64_t size = 6 * MIB;
    vr_autofree char *raw = make_raw("src.raw", size);
    vr_autofree char *base = to_qcow2(raw, "base.qcow2");
    vr_autofree char *packed = file("packed.qcow2"), *data = file("data.raw");
    vr_autofree char *outside = file("outside.qcow2"), *truth = file("truth.raw");
    vr_autofree char *where = vr_printf("data_file=%s", data);
    RUN("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", raw, packed);
    ships(packed, "qcow2", packed, "qcow2", raw, size);
    ships(base, "qcow2", base, "qcow2", raw, size); /* with holes and written zeros */
    unlink(data);
    RUN("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-o", where, raw, outside);
    ships(outside, "qcow2", outside, "qcow2", raw, size);

    vr_autofree char *top = make_qcow2("top.qcow2", size, base);
    qemu_io(top, "write -P 0x31 512k 64k");
    qemu_io(top, "write -P 0x32 1000k 4k");
    qemu_io(top, "write -z 2M 256k");
    qemu_io(top, "discard 3M 256k");
    RUN("qemu-img", "convert", "-f", "qcow2", "-O", "raw", top, truth);
    ships(top, "qcow2", top, "qcow2", truth, size);
}

/* What a machine's file ends with need not be a whole sector. */
static void the_end_of_an_odd_file(void **state)
{
    (void)state;
    vr_autofree char *raw = random_raw("src.raw", 3 * BS + 700);
    vr_autofree char *truth = random_raw("truth.raw", 1);
    const uint64_t size = 3 * BS + 1024;
    RUN("qemu-img", "convert", "-f", "raw", "-O", "raw", raw, truth);
    assert_int_equal(truncate(truth, (off_t)size), 0);
    ships(raw, "raw", raw, "raw", truth, size);
}

static void what_is_no_image_file_is_refused(void **state)
{
    (void)state;
    struct vr_err e = VR_ERR_INIT;
    struct imagemap *m = NULL;
    vr_autofree char *raw = random_raw("src.raw", BS), *none = file("none");
    assert_int_equal(imagemap_open(raw, "vmdk", &m, &e), -1);
    assert_int_equal(e.kind, VR_E_UNSUPPORTED);
    e = (struct vr_err)VR_ERR_INIT;
    assert_int_equal(imagemap_open("/dev/zero", "raw", &m, &e), -1);
    assert_int_equal(e.kind, VR_E_UNSUPPORTED);
    e = (struct vr_err)VR_ERR_INIT;
    assert_int_equal(imagemap_open(none, "raw", &m, &e), -1);
    assert_int_equal(e.kind, VR_E_NOFILE);

    struct imagemap_run r[2];
    assert_int_equal(imagemap_open(raw, "raw", &m, &e), 0);
    assert_int_equal(imagemap_find(m, 4096, 8192, r, 2), 1);
    assert_int_equal(r[0].offset, 4096);
    assert_int_equal(imagemap_find(m, BS - 512, 1024, r, 2), 0);
    assert_int_equal(imagemap_find(m, 1ull << 62, 1024, r, 2), 0);
    imagemap_free(m);
    imagemap_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_images_are_read_from_their_files),
        cmocka_unit_test(scattered_clusters_are_put_together),
        cmocka_unit_test(the_rest_comes_from_the_server),
        cmocka_unit_test(the_end_of_an_odd_file),
        cmocka_unit_test(what_is_no_image_file_is_refused),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
