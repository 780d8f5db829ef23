/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_EXCHANGES_CANONICAL_H
#define TESTS_EXCHANGES_CANONICAL_H

/* canonical() - a message as it can be compared: one element per line; two long URIs shortened;
 * instants become TIME, spans of seconds "N s", identifiers that were made up in this run GUID-1,
 * GUID-2... in the order in which they appear since canonical_begin(). The caller frees. */
char *canonical(const char *text);
void canonical_begin(void);

/* canonical_host() - for classes that tell of the computer on which the test runs: a canonical
 * message without any values. The caller frees. */
char *canonical_host(const char *message);

#endif
