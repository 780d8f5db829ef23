/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef VR_TRANSPORT_TLS_GNUTLS_H
#define VR_TRANSPORT_TLS_GNUTLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"
#include "base/stream.h"

/* All that needs a cryptographic library: certificates, TLS sessions as streams, and the two
 * primitives of pairing. TLS 1.3 only, both sides show certificates, ALPN "vmreplica/1". Whether a
 * certificate is the right one is decided by the caller from its thumbprint: no chain, name or
 * date is looked at. */

#define TLS_ALPN "vmreplica/1"
enum { TLS_HASH = 32 /* bytes of SHA-256 */ };

struct tls_identity;
struct tls;

/* tls_make_cert() - a self-signed ECDSA P-256 certificate for both roles, valid for ten years.
 * @key: PEM of the key to use, or empty: then a key is made and put there
 * @crt: gets the PEM of the certificate
 * Errors: VR_E_INVAL the key is unusable, VR_E_INTERNAL. Thread: any. */
int tls_make_cert(const char *host_name, struct vr_buf *key, struct vr_buf *crt,
                  struct vr_err *err);

/* tls_identity_new() - a certificate (the first of a chain) and its key, both PEM texts.
 * Errors: VR_E_INVAL unusable or not belonging together. @ret: tls_identity_free(). */
int tls_identity_new(const char *crt, const char *key, struct tls_identity **ret,
                     struct vr_err *err);
/* tls_identity_free() - after all sessions that use it. NULL is fine. */
void tls_identity_free(struct tls_identity *id);
/* tls_identity_facts() - what is known of it; borrowed. */
struct tls_facts {
    uint8_t hash[TLS_HASH];       /* SHA-256 of the certificate */
    char thumb[2 * TLS_HASH + 1]; /* the same as hex, lower case */
    char sha1[41];                /* SHA-1 as hex, upper case */
    char *crt, *key;              /* PEM texts */
};
const struct tls_facts *tls_identity_facts(const struct tls_identity *id);

/* tls_new() - a session on a connected non-blocking socket, before its handshake.
 * @take_fd: socket; owned by the session also on failure
 * @idle_ms: a read or write during which nothing at all arrives for so long fails
 * @ret: released by vr_stream_free(tls_stream(t)). Errors: VR_E_NOMEM, VR_E_INTERNAL. */
int tls_new(struct tls_identity *id, int take_fd, bool server, uint32_t idle_ms, struct tls **ret,
            struct vr_err *err);
/* tls_handshake() - until tls_set_deadline()'s moment. Errors: VR_E_TIMEOUT, VR_E_PEER,
 * VR_E_VERSION no TLS 1.3 or ALPN in common, VR_E_AUTH no certificate, VR_E_PROTO. */
int tls_handshake(struct tls *t, struct vr_err *err);
/* tls_stream() - the session as a stream; the same object. tls_of() - back, NULL if @s is another
 * kind of stream. */
struct vr_stream *tls_stream(struct tls *t);
struct tls *tls_of(struct vr_stream *s);

/* tls_peer_hash() / tls_peer_thumb() - SHA-256 of the peer's certificate, raw and hex; borrowed,
 * valid after the handshake. */
const uint8_t *tls_peer_hash(const struct tls *t);
const char *tls_peer_thumb(const struct tls *t);
/* tls_binding() - a value that only the two ends of this connection know, TLS_HASH bytes, from the
 * exporter with one of our own labels. src:[RFC 8446 section 7.5, RFC 9266] */
#define TLS_LABEL_PAIRING "EXPORTER-vmreplica-pairing-1"
#define TLS_LABEL_KERBEROS "EXPORTER-vmreplica-kerberos-1"
int tls_binding(struct tls *t, const char *label, uint8_t ret[TLS_HASH], struct vr_err *err);

/* tls_set_deadline() - reads and writes fail with VR_E_TIMEOUT after this moment; 0 for none.
 * Thread: the one that uses the stream, while no other does. */
void tls_set_deadline(struct tls *t, struct mono_ms deadline);
/* tls_is_fresh() - true if nothing has arrived that was not read: an idle connection on which
 * something did is closed or confused. Thread: the user of the stream. */
bool tls_is_fresh(struct tls *t);
/* tls_keepalive() - send an empty record unless a write is going on or the socket is full. Never
 * blocks. Thread: any, while the stream lives. */
void tls_keepalive(struct tls *t);
/* tls_heard() - when something arrived last. Thread: any, while the stream lives. */
struct mono_ms tls_heard(const struct tls *t);
/* tls_linger() - say that no more will be sent and wait until the peer closed, at most @ms, so that
 * our last words are not lost to a reset. Thread: the user of the stream. */
void tls_linger(struct tls *t, int ms);
/* tls_on_free() - call fn(arg) first thing when the stream is freed, by the thread that does it. */
void tls_on_free(struct tls *t, void (*fn)(void *arg), void *arg);
/* tls_mark() - note on a stream for its owner: false at first, then what was set last. */
void tls_mark(struct tls *t, bool on);
bool tls_is_marked(const struct tls *t);

/* tls_derive_key() - PBKDF2-HMAC-SHA256 of @secret, TLS_HASH bytes into @ret. Aborts when the
 * library has no SHA-256. tls_hmac() - HMAC-SHA256. tls_hash_eq() - compare two of them in constant
 * time. Thread: any. */
void tls_derive_key(const char *secret, const char *salt, unsigned rounds, uint8_t ret[TLS_HASH]);
void tls_hmac(const uint8_t key[TLS_HASH], const void *p, size_t n, uint8_t ret[TLS_HASH]);
bool tls_hash_eq(const uint8_t a[TLS_HASH], const uint8_t b[TLS_HASH]);

#endif
