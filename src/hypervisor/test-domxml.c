/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Domain documents: what is read of a machine, and the replica's definition word for word. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/testing.h"
#include "domxml.h"

static const char machine[] =
    "<domain type='kvm' id='7' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>\n"
    "  <name>web01 &amp; co</name>\n"
    "  <uuid>6F1C2A34-0001-4e55-9c00-aabbccddeeff</uuid>\n"
    "  <genid>11111111-2222-3333-4444-555555555555</genid>\n"
    "  <memory unit='GiB'>2</memory>\n"
    "  <vcpu placement='static'>3</vcpu>\n"
    "  <sysinfo type='smbios'>\n"
    "    <system>\n"
    "      <entry name='serial'>42</entry>\n"
    "      <entry name='uuid'>6f1c2a34-0001-4e55-9c00-aabbccddeeff</entry>\n"
    "    </system>\n"
    "  </sysinfo>\n"
    "  <os>\n"
    "    <type arch='x86_64' machine='pc-q35-7.2'>hvm</type>\n"
    "    <nvram>/var/lib/libvirt/nvram/web01.fd</nvram>\n"
    "  </os>\n"
    "  <devices>\n"
    "    <disk type='file' device='disk'>\n"
    "      <driver name='qemu' type='qcow2' discard='unmap'/>\n"
    "      <source file='/images/web01.qcow2' index='3'/>\n"
    "      <backingStore type='file'>\n"
    "        <format type='raw'/>\n"
    "        <source file='/images/base.raw'/>\n"
    "        <backingStore/>\n"
    "      </backingStore>\n"
    "      <target dev='vda' bus='virtio'/>\n"
    "      <boot order='1'/>\n"
    "    </disk>\n"
    "    <disk type='block' device='disk'>\n"
    "      <source dev='/dev/vg/data'>\n"
    "        <seclabel model='dac' relabel='no'/>\n"
    "      </source>\n"
    "      <target dev='vdb' bus='virtio'/>\n"
    "    </disk>\n"
    "    <disk type='file' device='cdrom'>\n"
    "      <target dev='sda' bus='sata'/>\n"
    "      <readonly/>\n"
    "    </disk>\n"
    "    <disk type='network' device='disk'>\n"
    "      <driver name='qemu' type='raw'/>\n"
    "      <source protocol='rbd' name='pool/x'/>\n"
    "      <target dev='vdc' bus='virtio'/>\n"
    "    </disk>\n"
    "    <disk type='file' device='disk'>\n"
    "      <driver name='qemu' type='raw'/>\n"
    "      <source file='/images/quorum.raw'/>\n"
    "      <target dev='vdd' bus='virtio'/>\n"
    "      <shareable/>\n"
    "    </disk>\n"
    "    <interface type='network'>\n"
    "      <mac address='52:54:00:12:34:56'/>\n"
    "      <source network='default'/>\n"
    "      <model type='virtio'/>\n"
    "    </interface>\n"
    "    <graphics type='vnc' port='5901' autoport='no'/>\n"
    "  </devices>\n"
    "  <seclabel type='dynamic' model='dac' relabel='yes'>\n"
    "    <label>+64055:+109</label>\n"
    "    <imagelabel>+64055:+109</imagelabel>\n"
    "  </seclabel>\n"
    "  <qemu:commandline>\n"
    "    <qemu:arg value='-S'/>\n"
    "  </qemu:commandline>\n"
    "</domain>\n";

static const char replica[] =
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
    "<domain xmlns:qemu=\"http://libvirt.org/schemas/domain/qemu/1.0\" type=\"kvm\">\n"
    "  <name>web01 &amp; co</name>\n"
    "  <uuid>6F1C2A34-0001-4e55-9c00-aabbccddeeff</uuid>\n"
    "  <genid>11111111-2222-3333-4444-555555555555</genid>\n"
    "  <memory unit=\"GiB\">2</memory>\n"
    "  <vcpu placement=\"static\">3</vcpu>\n"
    "  <sysinfo type=\"smbios\">\n"
    "    <system>\n"
    "      <entry name=\"serial\">42</entry>\n"
    "      <entry name=\"uuid\">6f1c2a34-0001-4e55-9c00-aabbccddeeff</entry>\n"
    "    </system>\n"
    "  </sysinfo>\n"
    "  <os>\n"
    "    <type arch=\"x86_64\" machine=\"pc-q35-7.2\">hvm</type>\n"
    "    <nvram>/var/lib/libvirt/nvram/web01.fd</nvram>\n"
    "  </os>\n"
    "  <devices>\n"
    "    <disk type=\"file\" device=\"disk\">\n"
    "      <driver name=\"qemu\" type=\"qcow2\" discard=\"unmap\"/>\n"
    "      <source file=\"/vr/a&amp;b/vda\"/>\n"
    "      <target dev=\"vda\" bus=\"virtio\"/>\n"
    "      <boot order=\"1\"/>\n"
    "    </disk>\n"
    "    <disk type=\"file\" device=\"disk\">\n"
    "      <driver name=\"qemu\" type=\"qcow2\"/>\n"
    "      <source file=\"/vr/vdb\"/>\n"
    "      <target dev=\"vdb\" bus=\"virtio\"/>\n"
    "    </disk>\n"
    "    <interface type=\"network\">\n"
    "      <mac address=\"52:54:00:12:34:56\"/>\n"
    "      <source network=\"default\"/>\n"
    "      <model type=\"virtio\"/>\n"
    "    </interface>\n"
    "    <graphics type=\"vnc\" port=\"5901\" autoport=\"no\"/>\n"
    "  </devices>\n"
    "</domain>\n";

static void test_parse(void **state)
{
    struct hv_machine m;
    char text[VR_UUID_STR];
    ok(domxml_parse(machine, &m, err));
    assert_string_equal(m.name, "web01 & co");
    assert_string_equal(vr_uuid_fmt(&m.uuid, text), "6f1c2a34-0001-4e55-9c00-aabbccddeeff");
    assert_int_equal(m.memory_kib, 2 << 20);
    assert_int_equal(m.vcpus, 3);
    assert_int_equal(m.numa_nodes, 1);
    assert_int_equal(m.n_disks, 5);
    assert_string_equal(m.disks[0].target, "vda");
    assert_string_equal(m.disks[0].path, "/images/web01.qcow2");
    assert_string_equal(m.disks[0].format, "qcow2");
    assert_true(m.disks[0].replicable && m.disks[0].trackable);
    assert_null(m.disks[0].note);
    assert_string_equal(m.disks[1].path, "/dev/vg/data");
    assert_string_equal(m.disks[1].format, "raw");
    assert_true(m.disks[1].replicable && !m.disks[1].trackable);
    for (size_t i = 2; i < 5; i++) {
        assert_false(m.disks[i].replicable);
        assert_false(m.disks[i].trackable);
        assert_non_null(m.disks[i].note);
    }
    assert_int_equal(m.n_nics, 1);
    assert_string_equal(m.nics[0].mac, "52:54:00:12:34:56");
    assert_string_equal(m.nics[0].source, "default");
    assert_string_equal(m.nics[0].model, "virtio");
    hv_machine_done(&m);
}

/* The firmware and what is booted, as domain documents say it. */
static void test_platform(void **state)
{
#define OF(os, rest)                                                                               \
    "<domain><name>x</name><uuid>6f1c2a34-0001-4e55-9c00-aabbccddeeff</uuid>" os "<devices/>" rest \
    "</domain>"
    static const struct {
        const char *xml;
        bool uefi, secure, restarts;
        const char *hardware, *boot, *nvram;
    } rows[] = {
        { OF("", ""), false, false, false, "", "", NULL },
        { OF("<os><type machine='pc-i440fx-7.2'>hvm</type><boot dev='network'/><boot dev='hd'/>"
             "<boot dev='cdrom'/><boot dev='fd'/></os>",
             "<on_crash>restart</on_crash>"),
          false, false, true, "7.2", "\4\1\2\3", NULL },
        { OF("<os firmware='efi'><type machine='q35'>hvm</type><firmware>"
             "<feature enabled='no' name='enrolled-keys'/>"
             "<feature enabled='yes' name='secure-boot'/></firmware></os>",
             "<on_crash>coredump-restart</on_crash>"),
          true, true, true, "", "", NULL },
        { OF("<os firmware='efi'><firmware><feature enabled='no' name='secure-boot'/></firmware>"
             "</os>",
             "<on_crash>destroy</on_crash>"),
          true, false, false, "", "", NULL },
        { OF("<os><type machine='pc-q35-rhel9.2.0'>hvm</type>"
             "<loader secure='yes' type='pflash'>/x.fd</loader><nvram>/y.fd</nvram></os>",
             ""),
          true, true, false, "9.2.0", "", "/y.fd" },
        { OF("<os><type machine='pc-a-very-long-0123456789.0123456789'>hvm</type>"
             "<loader secure='yes' type='rom'>/x.bin</loader></os>",
             ""),
          false, false, false, "", "", NULL },
    };
    for (size_t i = 0; i < VR_ARRAY_LEN(rows); i++) {
        struct hv_machine m;
        ok(domxml_parse(rows[i].xml, &m, err));
        assert_int_equal(m.uefi, rows[i].uefi);
        assert_int_equal(m.secure_boot, rows[i].secure);
        assert_int_equal(m.restarts, rows[i].restarts);
        assert_string_equal(m.hardware, rows[i].hardware);
        assert_memory_equal(m.boot, rows[i].boot, strlen(rows[i].boot));
        assert_true(strlen(rows[i].boot) == HV_BOOT_MAX || !m.boot[0]);
        assert_true(!m.nvram == !rows[i].nvram);
        if (m.nvram)
            assert_string_equal(m.nvram, rows[i].nvram);
        hv_machine_done(&m);
    }
#undef OF
}

static void test_parse_refuses(void **state)
{
    static const char *const bad[] = {
        "",
        "<domain>",
        "<network><name>x</name></network>",
        "<domain><name>x</name></domain>",
        "<domain><uuid>6f1c2a34-0001-4e55-9c00-aabbccddeeff</uuid></domain>",
        "<!DOCTYPE domain [<!ENTITY e SYSTEM 'file:///etc/passwd'>]><domain><name>&e;</name>"
        "<uuid>6f1c2a34-0001-4e55-9c00-aabbccddeeff</uuid></domain>",
        "<domain><name>x</name><uuid>6f1c2a34-0001-4e55-9c00-aabbccddeeff</uuid><devices>"
        "<disk type='file'><source file='/x'/></disk></devices></domain>",
    };
    struct hv_machine m;
    for (size_t i = 0; i < VR_ARRAY_LEN(bad); i++)
        fails(VR_E_INVAL, domxml_parse(bad[i], &m, err));
    vr_autofree char *huge = vr_new0(DOMXML_MAX + 2, 1);
    memset(huge, ' ', DOMXML_MAX + 1);
    fails(VR_E_LIMIT, domxml_parse(huge, &m, err));
}

static void test_owner(void **state)
{
    uid_t uid = 0;
    gid_t gid = 0;
    ok(domxml_owner(machine, &uid, &gid, err));
    assert_int_equal(uid, 64055);
    assert_int_equal(gid, 109);
    fails(VR_E_NOTFOUND, domxml_owner("<domain/>", &uid, &gid, err));
}

static void test_backing(void **state)
{
    vr_autofree char *one = NULL;
    char *none = NULL, *unset = NULL;
    struct vr_err e = VR_ERR_INIT;
    assert_int_equal(domxml_backing(machine, "vda", 1, &one, &e), 1);
    assert_string_equal(one, "/images/base.raw");
    assert_int_equal(domxml_backing(machine, "vda", 2, &none, &e), 1);
    assert_null(none);
    assert_int_equal(domxml_backing(machine, "vda", 3, &unset, &e), 0);
    assert_int_equal(domxml_backing(machine, "vdb", 1, &unset, &e), 0);
    assert_int_equal(domxml_backing(machine, "vdx", 1, &unset, &e), 0);
}

static void test_replica(void **state)
{
    const struct hv_disk_path paths[] = { { "vda", "/vr/a&b/vda" },
                                          { "vdb", "/vr/vdb" },
                                          { "vdd", NULL } };
    vr_autofree char *out = NULL, *again = NULL;
    ok(domxml_replica(machine, NULL, NULL, false, paths, 3, &out, err));
    assert_string_equal(out, replica);
    ok(domxml_replica(out, NULL, NULL, false, paths, 3, &again, err));
    assert_string_equal(again, replica);
    /* "" leaves a disk as it is: on a primary that becomes a replica. */
    const struct hv_disk_path kept[] = { { "vda", "/vr/a&b/vda" }, { "vdc", "" } };
    vr_autofree char *mixed = NULL;
    ok(domxml_replica(machine, NULL, NULL, false, kept, 2, &mixed, err));
    assert_non_null(strstr(mixed, "<source file=\"/vr/a&amp;b/vda\"/>"));
    assert_non_null(strstr(mixed, "<source protocol=\"rbd\" name=\"pool/x\"/>"));
    assert_null(strstr(mixed, "/vr/vdb"));
    const struct hv_disk_path unknown[] = { { "vdx", "/vr/vdx" } };
    fails(VR_E_NOTFOUND, domxml_replica(machine, NULL, NULL, false, unknown, 1, &out, err));
}

static void test_copy(void **state)
{
    const struct hv_disk_path paths[] = { { "vda", "/vr/test" } };
    struct vr_uuid uuid = vr_uuid_new();
    char text[VR_UUID_STR];
    vr_uuid_fmt(&uuid, text);
    vr_autofree char *out = NULL;
    ok(domxml_replica(machine, "web01 <Test>", &uuid, true, paths, 1, &out, err));
    struct hv_machine m;
    ok(domxml_parse(out, &m, err));
    assert_string_equal(m.name, "web01 <Test>");
    assert_true(vr_uuid_eq(&m.uuid, &uuid));
    assert_int_equal(m.n_disks, 1);
    assert_int_equal(strncmp(m.nics[0].mac, "52:54:00:", 9), 0);
    assert_string_not_equal(m.nics[0].mac, "52:54:00:12:34:56");
    hv_machine_done(&m);
    vr_autofree char *entry = vr_printf("<entry name=\"uuid\">%s</entry>", text);
    assert_non_null(strstr(out, entry));
    assert_non_null(strstr(out, "<link state=\"down\"/>"));
    assert_null(strstr(out, "<nvram"));
    assert_non_null(strstr(out, "<genid/>"));
    assert_non_null(strstr(out, "<graphics type=\"vnc\" autoport=\"yes\"/>"));
    assert_null(strstr(out, "6f1c2a34"));
    assert_null(strstr(out, "6F1C2A34"));
}

#define HEAD                                                                       \
    "<domain type='qemu' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'>" \
    "<name>evil</name><uuid>6f1c2a34-0001-4e55-9c00-aabbccddeeff</uuid><memory>1024</memory>"
#define OS "<os><type>hvm</type></os>"

/* What a peer sends as devices or, before them, as anything else; what is defined of it. */
static const struct {
    const char *before, *devices, *left;
} abuses[] = {
    { OS "<seclabel type='static' model='dac' relabel='no'><label>0:0</label></seclabel>", "",
      OS "<devices/>" },
    { OS "<qemu:commandline><qemu:arg value='-S'/></qemu:commandline>"
         "<qemu:override><qemu:device alias='x'/></qemu:override>",
      "", OS "<devices/>" },
    { OS "<sysinfo type='fwcfg'><entry name='opt/x' file='/etc/shadow'/></sysinfo>", "",
      OS "<devices/>" },
    { "<os><type>hvm</type><kernel>/etc/passwd</kernel><initrd>/etc/shadow</initrd>"
      "<dtb>/nowhere/at/all</dtb><cmdline>quiet</cmdline></os>",
      "",
      "<os><type>hvm</type><kernel>/etc/passwd</kernel><cmdline>quiet</cmdline></os><devices/>" },
    { "<os><type>hvm</type><loader>/etc/../etc/passwd</loader><nvram>/etc/shadow</nvram>"
      "<acpi><table type='slic'>/etc/shadow</table></acpi></os>",
      "", OS "<devices/>" },
    { "<os><type>hvm</type><loader>/nowhere/OVMF_CODE.fd</loader>"
      "<nvram template='/nowhere/VARS.fd'>/var/lib/libvirt/qemu/nvram/x.fd</nvram></os>",
      "",
      "<os><type>hvm</type><loader>/nowhere/OVMF_CODE.fd</loader>"
      "<nvram template='/nowhere/VARS.fd'>/var/lib/libvirt/qemu/nvram/x.fd</nvram></os>"
      "<devices/>" },
    { OS, "<emulator>/bin/sh</emulator>", OS "<devices/>" },
    { OS, "<emulator>/usr/bin/qemu-system-nothing</emulator>", OS "<devices/>" },
    { OS, "<emulator>/usr/bin/qemu-img</emulator>",
      OS "<devices><emulator>/usr/bin/qemu-img</emulator></devices>" },
    { OS,
      "<hostdev mode='subsystem' type='pci'><source><address bus='1'/></source></hostdev>"
      "<filesystem type='mount'><source dir='/'/><target dir='x'/></filesystem>"
      "<smartcard mode='host'/><shmem name='x'/><redirdev bus='usb' type='tcp'/>"
      "<memory model='nvdimm'><source><path>/etc/shadow</path></source></memory>"
      "<input type='evdev'><source dev='/dev/input/event0'/></input>"
      "<audio id='1' type='file' path='/x'/><lease><target path='/x'/></lease>"
      "<tpm model='tpm-tis'><backend type='passthrough'/></tpm>",
      OS "<devices/>" },
    { OS,
      "<serial type='file'><source path='/etc/cron.d/x'/><target port='0'/></serial>"
      "<serial type='dev'><source path='/dev/sda'/></serial>"
      "<console type='pipe'><source path='/x'/></console>"
      "<parallel type='tcp'><source mode='bind' host='0.0.0.0' service='1'/>"
      "<protocol type='raw'/></parallel>",
      OS "<devices><serial type='pty'><target port='0'/></serial><serial type='pty'/>"
         "<console type='pty'/><parallel type='pty'/></devices>" },
    { OS,
      "<serial type='file'><source path='/var/log/libvirt/nowhere/x.log'/></serial>"
      "<serial type='file'><source path='/var/log/libvirt/../../../etc/x'/></serial>"
      "<serial type='pty'><log file='/etc/profile'/></serial>",
      OS "<devices><serial type='pty'/><serial type='pty'/><serial type='pty'/></devices>" },
    { OS,
      "<channel type='unix'><source mode='bind' path='/run/dbus/x'/>"
      "<target type='virtio' name='org.qemu.guest_agent.0'/></channel>"
      "<channel type='spicevmc'><target type='virtio' name='com.redhat.spice.0'/></channel>",
      OS "<devices><channel type='unix'>"
         "<target type='virtio' name='org.qemu.guest_agent.0'/></channel><channel type='spicevmc'>"
         "<target type='virtio' name='com.redhat.spice.0'/></channel></devices>" },
    { OS,
      "<rng model='virtio'><backend model='random'>/etc/shadow</backend></rng>"
      "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>",
      OS "<devices><rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>"
         "<rng model='virtio'><backend model='random'>/dev/urandom</backend></rng></devices>" },
    { OS,
      "<interface type='ethernet'><script path='/bin/sh'/><model type='virtio'/></interface>"
      "<interface type='vhostuser'><source type='unix' path='/x' mode='server'/></interface>"
      "<interface type='bridge'><source bridge='br0'/><backend tap='/dev/sda'/></interface>",
      OS "<devices><interface type='user'><model type='virtio'/><link state='down'/></interface>"
         "<interface type='user'><link state='down'/></interface>"
         "<interface type='bridge'><source bridge='br0'/></interface></devices>" },
    { OS,
      "<graphics type='vnc' socket='/x'><listen type='socket' socket='/x'/></graphics>"
      "<graphics type='spice'><gl enable='yes' rendernode='/dev/sda'/></graphics>",
      OS "<devices><graphics type='vnc'><listen type='socket'/></graphics>"
         "<graphics type='spice'><gl enable='yes'/></graphics></devices>" },
    { OS,
      "<controller type='pci'/><memballoon model='none'/><panic model='isa'/>"
      "<vsock><cid auto='yes'/></vsock><input type='tablet' bus='usb'/>",
      OS "<devices><controller type='pci'/><memballoon model='none'/><panic model='isa'/>"
         "<vsock><cid auto='yes'/></vsock><input type='tablet' bus='usb'/></devices>" },
};

static void test_strip(void **state)
{
    size_t abused = 0;
    for (size_t i = 0; i < VR_ARRAY_LEN(abuses); i++) {
        vr_autofree char *sent =
            vr_printf(HEAD "%s<devices>%s</devices></domain>", abuses[i].before, abuses[i].devices);
        vr_autofree char *want = vr_printf(HEAD "%s</domain>", abuses[i].left);
        vr_autofree char *got = NULL, *plain = NULL, *all = NULL;
        ok(domxml_replica(sent, NULL, NULL, false, NULL, 0, &got, err));
        /* The same document, printed the same way. */
        ok(domxml_own(want, NULL, 0, &plain, err));
        assert_string_equal(got, plain);
        /* An administrator's own definition keeps everything. */
        ok(domxml_own(sent, NULL, 0, &all, err));
        abused += strcmp(all, plain) != 0;
    }
    enum { HARMLESS = 3 }; /* rows of which nothing is left out */
    assert_int_equal(abused, VR_ARRAY_LEN(abuses) - HARMLESS);
}

static size_t times(const char *text, const char *what)
{
    size_t n = 0;
    for (const char *at = text; (at = strstr(at, what)); at++)
        n++;
    return n;
}

static void test_test_copy(void **state)
{
    struct vr_uuid uuid = vr_uuid_new();
    vr_autofree char *out = NULL, *net = NULL;
    static const char sent[] =
        HEAD OS "<devices>"
                "<interface type='bridge'><mac address='52:54:00:00:00:01'/>"
                "<source bridge='br0'/><target dev='tap0'/><model type='virtio'/></interface>"
                "<interface type='network'><mac address='52:54:00:00:00:0A'/>"
                "<source network='prod'/><model type='e1000'/><filterref filter='f'/></interface>"
                "</devices></domain>";
    static const struct hv_nic_net all = { "", "lab" }, one = { "52:54:00:00:00:0a", "lab" };
    const struct hv_nic_net two[] = { { "52:54:00:00:00:01", "other" }, one };
    static const char *const never[] = { "tap0", "br0", "prod" };
    vr_autofree char *every = NULL, *each = NULL, *none = NULL;
    ok(domxml_replica(sent, "evil - Test", &uuid, true, NULL, 0, &out, err));
    assert_non_null(strstr(out, "<name>evil - Test</name>"));
    assert_non_null(strstr(out, "<link state=\"down\"/>"));
    assert_null(strstr(out, "52:54:00:00:00:01"));
    ok(domxml_on_networks(sent, &all, 1, &every, err));
    assert_int_equal(times(every, "<source network=\"lab\"/>"), 2);
    assert_null(strstr(every, "<link"));
    /* A card that no network is named for stays off whatever the others are on. */
    ok(domxml_on_networks(sent, &one, 1, &net, err));
    assert_int_equal(times(net, "<source"), 1);
    assert_int_equal(times(net, "<interface type=\"user\">"), 1);
    assert_int_equal(times(net, "<link state=\"down\"/>"), 1);
    assert_true(strstr(net, "52:54:00:00:00:01") < strstr(net, "<link"));
    assert_true(strstr(net, "<link") < strstr(net, "52:54:00:00:00:0A"));
    assert_true(strstr(net, "52:54:00:00:00:0A") < strstr(net, "<source network=\"lab\"/>"));
    assert_non_null(strstr(net, "<model type=\"virtio\"/>"));
    ok(domxml_on_networks(sent, two, 2, &each, err));
    assert_int_equal(times(each, "<source network=\"lab\"/>"), 1);
    assert_int_equal(times(each, "<source network=\"other\"/>"), 1);
    assert_null(strstr(each, "<link"));
    ok(domxml_on_networks(sent, NULL, 0, &none, err));
    assert_int_equal(times(none, "<interface type=\"user\">"), 2);
    assert_int_equal(times(none, "<link state=\"down\"/>"), 2);
    assert_null(strstr(none, "filter"));
    for (size_t i = 0; i < VR_ARRAY_LEN(never); i++) {
        assert_null(strstr(every, never[i]));
        assert_null(strstr(net, never[i]));
        assert_null(strstr(each, never[i]));
        assert_null(strstr(none, never[i]));
    }
}

static void test_backup(void **state)
{
    const struct domxml_capture_disk disks[] = {
        { .target = "vda", .scratch = "/s/vda", .tracked = true, .incremental = true },
        { .target = "vdb", .scratch = "/s/vdb" },
    };
    vr_autofree char *backup = NULL, *cp = NULL, *noted = NULL, *note = NULL, *socket = NULL;
    ok(domxml_backup("/run/x<y", "vmr.1", disks, 2, &backup, err));
    assert_string_equal(
        backup, "<domainbackup mode=\"pull\"><server transport=\"unix\" socket=\"/run/x&lt;y\"/>"
                "<disks><disk name=\"vda\" backup=\"yes\" type=\"file\" "
                "backupmode=\"incremental\" exportname=\"vda\" incremental=\"vmr.1\" "
                "exportbitmap=\"vmr-dirty\"><driver type=\"qcow2\"/><scratch file=\"/s/vda\"/>"
                "</disk><disk name=\"vdb\" backup=\"yes\" type=\"file\" backupmode=\"full\" "
                "exportname=\"vdb\"><driver type=\"qcow2\"/><scratch file=\"/s/vdb\"/></disk>"
                "</disks></domainbackup>");
    ok(domxml_backup_socket(backup, &socket, err));
    assert_string_equal(socket, "/run/x<y");
    ok(domxml_checkpoint("vmr.2", "run <1>", 1700000000, disks, 2, &noted, err));
    assert_string_equal(note = domxml_checkpoint_note(noted), "run <1>");
    ok(domxml_checkpoint("vmr.2", NULL, 1700000000, disks, 2, &cp, err));
    assert_null(domxml_checkpoint_note(cp));
    assert_null(domxml_checkpoint_note("garbage"));
    assert_string_equal(cp, "<domaincheckpoint><name>vmr.2</name>"
                            "<creationTime>1700000000</creationTime><disks>"
                            "<disk name=\"vda\" checkpoint=\"bitmap\" bitmap=\"vmr.2\"/>"
                            "<disk name=\"vdb\" checkpoint=\"no\"/></disks></domaincheckpoint>");
    assert_int_equal(domxml_checkpoint_created(cp), 1700000000);
    assert_true(domxml_checkpoint_has(cp, "vda", false));
    assert_false(domxml_checkpoint_has(cp, "vda", true));
    assert_false(domxml_checkpoint_has(cp, "vdb", false));
    assert_true(domxml_checkpoint_has("<domaincheckpoint><disks><disk name='vda' "
                                      "checkpoint='bitmap' size='0'/></disks></domaincheckpoint>",
                                      "vda", true));
    assert_false(domxml_checkpoint_has("garbage", "vda", false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse),         cmocka_unit_test(test_platform),
        cmocka_unit_test(test_parse_refuses), cmocka_unit_test(test_owner),
        cmocka_unit_test(test_replica),       cmocka_unit_test(test_backing),
        cmocka_unit_test(test_copy),          cmocka_unit_test(test_backup),
        cmocka_unit_test(test_strip),         cmocka_unit_test(test_test_copy),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
