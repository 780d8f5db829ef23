/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What differs between two runs of the same exchange is made the same. */
#include "canonical.h"

#include <ctype.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "base/uuid.h"

enum { GUIDS_MAX = 256, GUID_LEN = VR_UUID_STR - 1 };

static char guids[GUIDS_MAX][VR_UUID_STR];
static unsigned n_guids;

/* Identifiers of the fake host, the built-in provider, adapters, the requests' own. */
static const char *const fixed[] = { "6E7A2F20-", "22391CDC-", "564D5245-", "ABCDEFAB-" };

void canonical_begin(void)
{
    n_guids = 0;
}

/* Does @text fit @shape? 'd' a digit, 'x' a hexadecimal digit, 's' a sign, the rest itself. */
static bool fits(const char *text, const char *shape)
{
    for (; *shape; text++, shape++) {
        unsigned char c = (unsigned char)*text;
        bool ok = *shape == 'd'   ? isdigit(c) != 0
                  : *shape == 'x' ? isxdigit(c) != 0
                  : *shape == 's' ? c == '+' || c == '-'
                                  : c == (unsigned char)*shape;
        if (!ok)
            return false;
    }
    return true;
}

static const struct {
    const char *shape, *as;
} shapes[] = {
    { "dddd-dd-ddTdd:dd:dd.ddddddZ", "TIME" }, { "dddd-dd-ddTdd:dd:dd.dddZ", "TIME" },
    { "dddd-dd-ddTdd:dd:ddZ", "TIME" },        { "dddddddddddddd.ddddddsddd", "TIME" },
    { "dddd-dd-dd dd:dd:dd", "TIME" },
};

/* Long names that are everywhere, and the places where a line ends. */
static const struct {
    const char *text, *as;
    size_t take; /* of the text */
} words[] = {
    { "http://schemas.microsoft.com/wbem/wsman/1/wmi/root/", "WMI:", 51 },
    { "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous", "ANONYMOUS", 63 },
    { "&gt;&lt;", "&gt;\n", 4 },
    { "><", ">\n", 1 },
};

static size_t put_guid(struct vr_buf *b, const char *at)
{
    unsigned i;

    for (size_t k = 0; k < VR_ARRAY_LEN(fixed); k++)
        if (!strncasecmp(at, fixed[k], strlen(fixed[k]))) {
            vr_buf_add(b, at, GUID_LEN, NULL);
            return GUID_LEN;
        }
    for (i = 0; i < n_guids && strncasecmp(guids[i], at, GUID_LEN) != 0; i++)
        ;
    if (i == n_guids && n_guids < GUIDS_MAX)
        snprintf(guids[n_guids++], VR_UUID_STR, "%.36s", at);
    vr_buf_printf(b, NULL, "GUID-%u", i + 1);
    return GUID_LEN;
}

/* The value of an element that counts seconds. */
static size_t put_seconds(struct vr_buf *b, const char *at)
{
    static const struct {
        const char *name;
        bool zero_stays; /* that of what is off */
    } names[] = { { "<p:DataAgeSeconds>", false },
                  { "<p:ElapsedTime>", false },
                  { "<p:OnTimeInMilliseconds>", true },
                  { "<p:UpTime>", true },
                  { "<p:TIME_CREATED>", false } };

    for (size_t i = 0; i < VR_ARRAY_LEN(names); i++) {
        size_t n = strlen(names[i].name);
        if (strncmp(at, names[i].name, n) != 0 ||
            (names[i].zero_stays && !strncmp(at + n, "0<", 2)))
            continue;
        vr_buf_printf(b, NULL, "%sN", names[i].name);
        return n + strcspn(at + n, "<");
    }
    size_t n = strspn(at, "0123456789");
    if (n && !strncmp(at + n, " s ", 3)) {
        vr_buf_printf(b, NULL, "N s ");
        return n + 3;
    }
    return 0;
}

static size_t put_one(struct vr_buf *b, const char *at, bool in_word)
{
    if (!in_word && fits(at, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx"))
        return put_guid(b, at);
    for (size_t i = 0; !in_word && i < VR_ARRAY_LEN(shapes); i++)
        if (fits(at, shapes[i].shape)) {
            vr_buf_printf(b, NULL, "%s", shapes[i].as);
            return strlen(shapes[i].shape);
        }
    size_t n = in_word ? 0 : put_seconds(b, at);
    if (n)
        return n;
    for (size_t i = 0; i < VR_ARRAY_LEN(words); i++)
        if (!strncmp(at, words[i].text, strlen(words[i].text))) {
            vr_buf_printf(b, NULL, "%s", words[i].as);
            return words[i].take;
        }
    vr_buf_add(b, at, 1, NULL);
    return 1;
}

char *canonical(const char *text)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;
    bool in_word = false;

    while (*text) {
        size_t n = put_one(&b, text, in_word);
        in_word = isalnum((unsigned char)text[n - 1]) != 0;
        text += n;
    }
    vr_buf_add(&b, "\n", 1, NULL);
    return vr_strdup((char *)b.data);
}

/* Is the line an element with all that is in it: a property or a selector? */
static bool is_whole(const char *line, size_t n, const char *start)
{
    return !strncmp(line, start, strlen(start)) &&
           (!strncmp(line + n - 2, "/>", 2) || memmem(line, n, "</", 2));
}

char *canonical_host(const char *message)
{
    vr_autobuf struct vr_buf b = VR_BUF_INIT;

    for (size_t n; *message; message += n + (message[n] == '\n')) {
        n = strcspn(message, "\n");
        size_t name = strcspn(message, " />");
        if (is_whole(message, n, "<p:"))
            vr_buf_printf(&b, NULL, "%.*s>HOST\n", (int)name, message);
        else if (is_whole(message, n, "<w:Selector "))
            vr_buf_printf(&b, NULL, "%.*s>HOST\n", (int)strcspn(message, ">"), message);
        else
            vr_buf_printf(&b, NULL, "%.*s\n", (int)n, message);
    }
    return vr_strdup((char *)b.data);
}
