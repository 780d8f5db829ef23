/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_PAIR_H
#define VR_TRANSPORT_PAIR_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/clock.h"
#include "base/err.h"
#include "transport/callers.h"
#include "transport/tls_gnutls.h"

/* Pairing by a one-time code; docs/protocol.md section 7. */

enum {
    PAIR_SYMBOLS = 20,    /* of 5 bits each: 100 bits */
    PAIR_TEXT = 64,       /* bytes of room for a code as people see it */
    PAIR_ROUNDS = 100000, /* of PBKDF2 */
};

enum pair_role { PAIR_INITIATOR = 1, PAIR_ACCEPTOR = 2 };

/* pair_code_new() - a random code as people see it ("7KQ2-..."). Thread: any. */
void pair_code_new(char ret[PAIR_TEXT]);
/* pair_code_key() - the key of a typed code: case, hyphens and spaces do not matter, O is 0, I and
 * L are 1. Takes some 50 ms of computing on purpose. Errors: VR_E_INVAL not a code. */
int pair_code_key(const char *code, uint8_t ret[TLS_HASH], struct vr_err *err);
/* pair_proof() - what one side sends to prove that it has the code and is an end of this very TLS
 * connection between these two certificates. */
void pair_proof(const uint8_t key[TLS_HASH], enum pair_role role, const uint8_t binding[TLS_HASH],
                const uint8_t initiator[TLS_HASH], const uint8_t acceptor[TLS_HASH],
                uint8_t ret[TLS_HASH]);

/* The code that is waiting to be used, at most one. */
struct pair_store {
    pthread_mutex_t lock;
    bool set;
    bool claimed;        /* proven, being made known */
    uint64_t generation; /* counts codes: a claim of a replaced code changes nothing */
    struct slow slow;    /* who sent wrong proofs since the code was made */
    struct mono_ms until;
    uint8_t key[TLS_HASH];
};

/* pair_store_init() / pair_store_done() - embedded; done wipes the key. */
void pair_store_init(struct pair_store *ps);
void pair_store_done(struct pair_store *ps);
/* pair_store_set() - @key is valid for @seconds from now on; replaces the one before. */
void pair_store_set(struct pair_store *ps, const uint8_t key[TLS_HASH], uint32_t seconds);
/* pair_store_try() - check the initiator's @proof, which came from block @from (callers.h). On
 * success the code is claimed: nobody else can use it until pair_store_end().
 * @ret_answer: the acceptor's own proof; @ret_claim: for pair_store_end()
 * Errors: VR_E_AUTH wrong, expired, used or none; the message is for our log, the peer is told
 * only that it failed. VR_E_BUSY: wrong ones came from there, and it has to wait, as the message
 * says; the proof was not looked at. Thread: any. */
int pair_store_try(struct pair_store *ps, const char *from, const uint8_t proof[TLS_HASH],
                   const uint8_t binding[TLS_HASH], const uint8_t initiator[TLS_HASH],
                   const uint8_t acceptor[TLS_HASH], uint8_t ret_answer[TLS_HASH],
                   uint64_t *ret_claim, struct vr_err *err);
/* pair_store_end() - @used: the peer is known now, the code is void; otherwise it can be tried
 * again. */
void pair_store_end(struct pair_store *ps, uint64_t claim, bool used);

#endif
