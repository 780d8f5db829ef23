/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Network cards in libvirt's domain documents: what a copy's are connected to. Thread: any. */
#include <stdio.h>
#include <strings.h>

#include "domxml_priv.h"

static void random_mac(char out[18])
{
    uint8_t r[3];
    vr_random(r, sizeof r);
    snprintf(out, 18, "52:54:00:%02x:%02x:%02x", r[0], r[1], r[2]);
}

void domxml_edit_nics(xmlNodePtr devices, bool new_macs, bool disconnect)
{
    for (xmlNodePtr n = child(devices, "interface"); n; n = again(n)) {
        xmlNodePtr mac = child(n, "mac");
        if (new_macs) {
            char text[18];
            random_mac(text);
            if (!mac)
                mac = xmlNewChild(n, NULL, (const xmlChar *)"mac", NULL);
            set_attr(mac, "address", text);
        }
        if (disconnect) {
            xmlNodePtr link = child(n, "link");
            if (!link)
                link = xmlNewChild(n, NULL, (const xmlChar *)"link", NULL);
            set_attr(link, "state", "down");
        }
    }
}

/* A card is on the network that is named for it, or on none: never on that of the original. */
static const char *network_of(const xmlNode *nic, const struct hv_nic_net *nets, size_t n)
{
    xstr mac = attr(child(nic, "mac"), "address");
    for (size_t i = 0; i < n; i++)
        if (!nets[i].mac[0] || (mac && strcasecmp((const char *)mac, nets[i].mac) == 0))
            return nets[i].network;
    return NULL;
}

static bool is_of_the_card(const xmlNode *n)
{
    static const char *const kept[] = { "mac", "model", "address", "boot", "rom", "alias", "acpi" };
    for (size_t i = 0; i < VR_ARRAY_LEN(kept); i++)
        if (is(n, kept[i]))
            return true;
    return false;
}

/* Like cards that strip_nic() of domxml.c unplugs: nothing of the host is needed to start the
 * machine. Filters, bandwidth and the like belong to a connection. Not type "null": libvirtd 9.0
 * dies when such a machine starts (docs/notes-libvirt.md). */
static void unplug(xmlNodePtr nic)
{
    for (xmlNodePtr n = nic->children, next; n; n = next) {
        next = n->next;
        if (n->type == XML_ELEMENT_NODE && !is_of_the_card(n))
            drop(n);
    }
    set_attr(nic, "type", "user");
    set_attr(xmlNewChild(nic, NULL, (const xmlChar *)"link", NULL), "state", "down");
}

static void plug(xmlNodePtr nic, const char *network)
{
    static const char *const gone[] = { "source", "virtualport", "target", "link", "vlan", "port" };
    for (size_t i = 0; i < VR_ARRAY_LEN(gone); i++)
        drop_children(nic, gone[i]);
    set_attr(nic, "type", "network");
    set_attr(xmlNewChild(nic, NULL, (const xmlChar *)"source", NULL), "network", network);
}

void domxml_nics_on(xmlNodePtr devices, const struct hv_nic_net *nets, size_t n)
{
    for (xmlNodePtr nic = child(devices, "interface"); nic; nic = again(nic)) {
        const char *network = network_of(nic, nets, n);
        if (network)
            plug(nic, network);
        else
            unplug(nic);
    }
}
