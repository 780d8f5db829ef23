/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What libvirt's domain documents say of a machine besides its disks and network cards. Thread:
 * any. src:[libvirt, "Domain XML format"] */
#include <ctype.h>
#include <stdio.h>

#include "domxml_priv.h"

/* <loader secure='yes'>, or what an automatically chosen firmware must have. */
static bool has_secure_boot(const xmlNode *os)
{
    if (attr_is(child(os, "loader"), "secure", "yes"))
        return true;
    for (xmlNodePtr f = child(child(os, "firmware"), "feature"); f; f = again(f))
        if (attr_is(f, "name", "secure-boot") && attr_is(f, "enabled", "yes"))
            return true;
    return false;
}

static void boot_order(const xmlNode *os, struct hv_machine *m)
{
    static const struct {
        const char *dev;
        enum hv_boot as;
    } devs[] = { { "hd", HV_BOOT_DISK },
                 { "cdrom", HV_BOOT_CDROM },
                 { "fd", HV_BOOT_FLOPPY },
                 { "network", HV_BOOT_NETWORK } };
    size_t n = 0;

    for (xmlNodePtr b = child(os, "boot"); b && n < HV_BOOT_MAX; b = again(b))
        for (size_t i = 0; i < VR_ARRAY_LEN(devs); i++)
            if (attr_is(b, "dev", devs[i].dev))
                m->boot[n++] = (uint8_t)devs[i].as;
}

/* "7.2" of "pc-q35-7.2" or "pc-i440fx-rhel7.6.0"; a name without a version ("q35") tells none. */
static void hardware_version(const xmlNode *os, struct hv_machine *m)
{
    xstr type = attr(child(os, "type"), "machine");
    const char *last = type ? strrchr((const char *)type, '-') : NULL;

    if (!last)
        return;
    while (*last && !isdigit((unsigned char)*last))
        last++;
    size_t n = strspn(last, "0123456789.");
    if (n && !last[n] && strchr(last, '.') && n < sizeof m->hardware)
        snprintf(m->hardware, sizeof m->hardware, "%s", last);
}

void domxml_platform(xmlNodePtr root, struct hv_machine *m)
{
    xmlNodePtr os = child(root, "os"), numa = child(child(root, "cpu"), "numa");
    xmlNodePtr crash = child(root, "on_crash");
    xstr type = attr(child(os, "loader"), "type");
    xstr nvram = child(os, "nvram") ? xmlNodeGetContent(child(os, "nvram")) : NULL;
    xstr notes = xmlNodeGetContent(child(root, "description"));
    xstr on_crash = crash ? xmlNodeGetContent(crash) : NULL;
    size_t cells = numa ? count(numa, "cell") : 0;

    m->uefi = attr_is(os, "firmware", "efi") || (type && strcmp((const char *)type, "pflash") == 0);
    m->secure_boot = m->uefi && has_secure_boot(os);
    m->restarts = on_crash && strstr((const char *)on_crash, "restart");
    m->numa_nodes = cells ? (unsigned)cells : 1;
    boot_order(os, m);
    hardware_version(os, m);
    if (nvram && *nvram)
        m->nvram = vr_strdup((const char *)nvram);
    if (notes && *notes)
        m->notes = vr_strdup((const char *)notes);
}
