/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pairing: who has the code, and is an end of this connection, is the peer.
 *
 *   key   = PBKDF2-HMAC-SHA256(code, "vmreplica pairing 1", 100000)
 *   proof = HMAC-SHA256(key, role || binding || initiator's SHA-256 || acceptor's SHA-256)
 *
 * The binding differs for every TLS connection, so a proof is of no use on another one; the roles
 * differ, so it cannot be reflected; 100 random bits cannot be searched from a proof. The initiator
 * proves first: nobody gets a proof out of the acceptor without the code. Thread: any; the store
 * has its lock, and the slow derivation is done outside of it. */
#include "transport/pair.h"

#include <string.h>

#include "base/uuid.h"

/* Digits and letters without I, L, O, U. src:[Crockford, base 32 encoding] */
static const char symbols[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

void pair_code_new(char ret[PAIR_TEXT])
{
    uint8_t raw[PAIR_SYMBOLS];
    char *p = ret;
    vr_random(raw, sizeof raw);
    for (int i = 0; i < PAIR_SYMBOLS; i++) {
        if (i && i % 4 == 0)
            *p++ = '-';
        *p++ = symbols[raw[i] & 31];
    }
    *p = 0;
    explicit_bzero(raw, sizeof raw);
}

/* The symbol that a typed character means, 0 if none. */
static char canonical(char c)
{
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    if (c == 'O')
        c = '0';
    if (c == 'I' || c == 'L')
        c = '1';
    return c && strchr(symbols, c) ? c : 0;
}

int pair_code_key(const char *code, uint8_t ret[TLS_HASH], struct vr_err *err)
{
    char plain[PAIR_SYMBOLS + 1] = { 0 };
    size_t n = 0;
    for (const char *p = code; *p; p++) {
        if (*p == '-' || *p == ' ')
            continue;
        char c = canonical(*p);
        if (!c || n == PAIR_SYMBOLS)
            return vr_fail(err, VR_E_INVAL, 0,
                           "this is not a pairing code: it has %d digits and letters in groups of "
                           "four",
                           PAIR_SYMBOLS);
        plain[n++] = c;
    }
    if (n != PAIR_SYMBOLS)
        return vr_fail(err, VR_E_INVAL, 0, "the pairing code has %zu of %d digits and letters", n,
                       PAIR_SYMBOLS);
    tls_derive_key(plain, "vmreplica pairing 1", PAIR_ROUNDS, ret);
    explicit_bzero(plain, sizeof plain);
    return 0;
}

void pair_proof(const uint8_t key[TLS_HASH], enum pair_role role, const uint8_t binding[TLS_HASH],
                const uint8_t initiator[TLS_HASH], const uint8_t acceptor[TLS_HASH],
                uint8_t ret[TLS_HASH])
{
    uint8_t m[1 + 3 * TLS_HASH];
    m[0] = (uint8_t)role;
    memcpy(m + 1, binding, TLS_HASH);
    memcpy(m + 1 + TLS_HASH, initiator, TLS_HASH);
    memcpy(m + 1 + 2 * TLS_HASH, acceptor, TLS_HASH);
    tls_hmac(key, m, sizeof m, ret);
}

void pair_store_init(struct pair_store *ps)
{
    *ps = (struct pair_store){ 0 };
    pthread_mutex_init(&ps->lock, NULL);
}

static void forget(struct pair_store *ps)
{
    explicit_bzero(ps->key, sizeof ps->key);
    ps->set = ps->claimed = false;
}

void pair_store_done(struct pair_store *ps)
{
    forget(ps);
    pthread_mutex_destroy(&ps->lock);
}

void pair_store_set(struct pair_store *ps, const uint8_t key[TLS_HASH], uint32_t seconds)
{
    pthread_mutex_lock(&ps->lock);
    memcpy(ps->key, key, TLS_HASH);
    ps->set = true;
    ps->claimed = false;
    ps->generation++;
    ps->slow = (struct slow){ 0 };
    ps->until.ms = vr_mono_now().ms + (int64_t)seconds * 1000;
    pthread_mutex_unlock(&ps->lock);
}

/* Wrong proofs do not void the code, or anybody could take it away from the administrator: whoever
 * sends them has to wait longer and longer. What keeps the code from being guessed is its length.
 */
static int try_locked(struct pair_store *ps, const char *from, const uint8_t proof[TLS_HASH],
                      const uint8_t binding[TLS_HASH], const uint8_t initiator[TLS_HASH],
                      const uint8_t acceptor[TLS_HASH], struct vr_err *err)
{
    uint8_t want[TLS_HASH];
    if (!ps->set)
        return vr_fail(err, VR_E_AUTH, 0, "no pairing code is waiting");
    struct mono_ms now = vr_mono_now();
    if (now.ms >= ps->until.ms) {
        forget(ps);
        return vr_fail(err, VR_E_AUTH, 0, "the pairing code has expired");
    }
    if (ps->claimed)
        return vr_fail(err, VR_E_AUTH, 0, "the pairing code is being used by somebody else");
    int64_t wait = slow_wait(&ps->slow, from, now);
    if (wait)
        return vr_fail(err, VR_E_BUSY, 0,
                       "wrong pairing codes came from this address: wait %d seconds and try again",
                       (int)((wait + 999) / 1000));
    pair_proof(ps->key, PAIR_INITIATOR, binding, initiator, acceptor, want);
    if (!tls_hash_eq(want, proof))
        return vr_fail(err, VR_E_AUTH, 0, "wrong pairing code, try %u from this address",
                       slow_failed(&ps->slow, from, now));
    slow_forget(&ps->slow, from);
    return 0;
}

int pair_store_try(struct pair_store *ps, const char *from, const uint8_t proof[TLS_HASH],
                   const uint8_t binding[TLS_HASH], const uint8_t initiator[TLS_HASH],
                   const uint8_t acceptor[TLS_HASH], uint8_t ret_answer[TLS_HASH],
                   uint64_t *ret_claim, struct vr_err *err)
{
    pthread_mutex_lock(&ps->lock);
    int rc = try_locked(ps, from, proof, binding, initiator, acceptor, err);
    if (rc == 0) {
        pair_proof(ps->key, PAIR_ACCEPTOR, binding, initiator, acceptor, ret_answer);
        ps->claimed = true;
        *ret_claim = ps->generation;
    }
    pthread_mutex_unlock(&ps->lock);
    return rc;
}

void pair_store_end(struct pair_store *ps, uint64_t claim, bool used)
{
    pthread_mutex_lock(&ps->lock);
    if (ps->set && ps->generation == claim) {
        ps->claimed = false;
        if (used)
            forget(ps);
    }
    pthread_mutex_unlock(&ps->lock);
}
