/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Digest tables: what was set is found again, also after reopening; other files are refused. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "transfer/digestlog.h"

static char dir[] = "/tmp/vr-digestlog-XXXXXX";
static char *path;

static int setup(void **state)
{
    (void)state;
    if (!path) {
        if (!mkdtemp(dir))
            return -1;
        path = vr_printf("%s/table", dir);
    }
    unlink(path);
    return 0;
}

static int cleanup(void **state)
{
    (void)state;
    unlink(path);
    rmdir(dir);
    free(path);
    return 0;
}

static struct digestlog *open_table(uint64_t size, bool create)
{
    struct digestlog *d = NULL;
    struct vr_err err = VR_ERR_INIT;
    if (digestlog_open(path, size, create, &d, &err) < 0)
        fail_msg("%s", err.msg);
    return d;
}

static struct vr_digest digest_of(uint64_t n)
{
    return vr_digest_block(&n, sizeof n);
}

static void set_slots_survive_reopening(void **state)
{
    (void)state;
    const uint64_t size = (uint64_t)3 << 40; /* a big disk costs little */
    const uint64_t held[] = { 0, 1, 2, 4095, 4096, 100000, (size / VR_BLOCK_SIZE) - 1 };
    struct digestlog *d = open_table(size, true);
    for (size_t i = 0; i < VR_ARRAY_LEN(held); i++) {
        struct digest_record r = { held[i], digest_of(held[i]) };
        assert_int_equal(digestlog_set(d, &r, 1, NULL), 0);
    }
    assert_int_equal(digestlog_sync(d, NULL), 0);
    digestlog_free(d);

    d = open_table(size, false);
    uint64_t from = 0;
    for (size_t i = 0; i < VR_ARRAY_LEN(held); i++) {
        struct digest_record r;
        struct vr_digest want = digest_of(held[i]), got;
        assert_int_equal(digestlog_next(d, from, &r, NULL), 1);
        assert_int_equal(r.block, held[i]);
        assert_memory_equal(&r.digest, &want, sizeof want);
        assert_int_equal(digestlog_get(d, held[i], &got, NULL), 1);
        assert_memory_equal(&got, &want, sizeof want);
        from = r.block + 1;
    }
    struct digest_record none;
    struct vr_digest no;
    assert_int_equal(digestlog_next(d, from, &none, NULL), 0);
    assert_int_equal(digestlog_get(d, 3, &no, NULL), 0);
    assert_int_equal(digestlog_get(d, size, &no, NULL), 0);
    digestlog_free(d);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_true(st.st_blocks * 512 < 1 << 20);
}

static void runs_and_clears_match_a_plain_array(void **state)
{
    (void)state;
    enum { BLOCKS = 9000 };
    static struct vr_digest model[BLOCKS];
    static bool has[BLOCKS];
    static struct digest_record batch[700];
    const uint64_t size = (uint64_t)BLOCKS * VR_BLOCK_SIZE - 5;
    struct digestlog *d = open_table(size, true);
    unsigned int seed = 3;
    for (int round = 0; round < 200; round++) {
        size_t n = 0;
        uint64_t b = (uint64_t)rand_r(&seed) % BLOCKS;
        while (n < VR_ARRAY_LEN(batch) && b < BLOCKS) {
            batch[n++] = (struct digest_record){ b, digest_of((uint64_t)round * BLOCKS + b) };
            model[b] = batch[n - 1].digest;
            has[b] = true;
            b += rand_r(&seed) % 50 ? 1 : 1 + (uint64_t)rand_r(&seed) % 90;
        }
        assert_int_equal(digestlog_set(d, batch, n, NULL), 0);
        for (int k = 0; k < 100; k++) {
            b = (uint64_t)rand_r(&seed) % BLOCKS;
            assert_int_equal(digestlog_clear(d, b, NULL), 0);
            has[b] = false;
        }
    }
    uint64_t at = 0;
    for (uint64_t b = 0; b < BLOCKS; b++) {
        struct vr_digest got;
        struct digest_record next;
        assert_int_equal(digestlog_get(d, b, &got, NULL), has[b]);
        if (!has[b])
            continue;
        assert_memory_equal(&got, &model[b], sizeof got);
        assert_int_equal(digestlog_next(d, at, &next, NULL), 1);
        assert_int_equal(next.block, b);
        at = b + 1;
    }
    digestlog_free(d);
}

static void other_files_and_sizes_are_refused(void **state)
{
    (void)state;
    struct digestlog *d = NULL;
    struct vr_err err = VR_ERR_INIT;
    assert_int_equal(digestlog_open(path, 1 << 20, false, &d, &err), -1);
    assert_int_equal(err.kind, VR_E_NOFILE);
    digestlog_free(open_table(2 << 20, true));
    vr_err_clear(&err);
    assert_int_equal(digestlog_open(path, 1 << 20, true, &d, &err), -1);
    assert_int_equal(err.kind, VR_E_CORRUPT);
    d = open_table(0, false);
    assert_int_equal(digestlog_size(d), 2 << 20);
    digestlog_free(d);
    d = NULL;
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "x", 1, 3), 1);
    close(fd);
    vr_err_clear(&err);
    assert_int_equal(digestlog_open(path, 2 << 20, true, &d, &err), -1);
    assert_int_equal(err.kind, VR_E_CORRUPT);
    assert_null(d);
}

static void a_grown_disk_forgets_its_short_last_block(void **state)
{
    (void)state;
    struct digestlog *d = open_table(3 * VR_BLOCK_SIZE + 512, true);
    for (uint64_t b = 0; b < 4; b++) {
        struct digest_record r = { b, digest_of(b) };
        assert_int_equal(digestlog_set(d, &r, 1, NULL), 0);
    }
    struct digest_record outside = { 4, digest_of(4) };
    assert_int_equal(digestlog_set(d, &outside, 1, NULL), -1);
    digestlog_free(d);
    d = open_table(8 * VR_BLOCK_SIZE, true);
    struct vr_digest got;
    assert_int_equal(digestlog_get(d, 2, &got, NULL), 1);
    assert_int_equal(digestlog_get(d, 3, &got, NULL), 0);
    assert_int_equal(digestlog_set(d, &outside, 1, NULL), 0);
    digestlog_free(d);
    d = open_table(8 * VR_BLOCK_SIZE, false);
    assert_int_equal(digestlog_get(d, 4, &got, NULL), 1);
    digestlog_free(d);
}

static void digests_are_stable(void **state)
{
    (void)state;
    /* The canonical XXH3-128 of nothing: the value that every implementation gives. */
    const uint8_t empty[16] = { 0x99, 0xaa, 0x06, 0xd3, 0x01, 0x47, 0x98, 0xd8,
                                0x60, 0x01, 0xc3, 0x24, 0x46, 0x8d, 0x49, 0x7f };
    struct vr_digest d = vr_digest_block("", 0);
    assert_memory_equal(d.b, empty, sizeof empty);
    static const uint8_t zeros[VR_BLOCK_SIZE];
    struct vr_digest a = vr_digest_zero(VR_BLOCK_SIZE), b = vr_digest_block(zeros, sizeof zeros);
    assert_memory_equal(&a, &b, sizeof a);
    a = vr_digest_zero(512);
    b = vr_digest_block(zeros, 512);
    assert_memory_equal(&a, &b, sizeof a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(set_slots_survive_reopening, setup),
        cmocka_unit_test_setup(runs_and_clears_match_a_plain_array, setup),
        cmocka_unit_test_setup(other_files_and_sizes_are_refused, setup),
        cmocka_unit_test_setup(a_grown_disk_forgets_its_short_last_block, setup),
        cmocka_unit_test(digests_are_stable),
    };
    return cmocka_run_group_tests(tests, setup, cleanup);
}
