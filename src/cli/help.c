/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the commands' options mean: shown by "vmreplica COMMAND --help". */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/cli.h"

#define SETTINGS                                                                                   \
    "  --interval SECONDS   between cycles, 5 to 3600 [300]\n"                                     \
    "  --points N           hourly recovery points at least, 0 to 24 [0]; retention says more\n"   \
    "  --resync-window W    when disks are compared after tracking of changes was lost: always,\n" \
    "                       never (only when asked), HH:MM-HH:MM local time [always]\n"            \
    "  --no-compression     send as it is\n"

static const struct {
    const char *verb, *options;
} all[] = {
    { "pair",
      "  --code CODE   the code that HOST shows, where 'vmreplica pair' was given before\n"
      "Example: 'vmreplica pair' on second, then 'vmreplica pair second --code CODE' on first.\n" },
    { "check",
      "  --port N   the port of the other host, when it is not the one it was paired by\n"
      "  --auth A   certificate (of a paired host), or kerberos: then HOST is its full name\n"
      "             [certificate]\n" },
    { "server",
      "Without options shows the settings.\n"
      "  --receive yes|no       replicas are received here, or not\n"
      "  --auth A               by certificate (of paired hosts), kerberos, or both; with\n"
      "                         --receive yes alone: certificate\n"
      "  --port N               port for other hosts; they are told\n"
      "  --kerberos-port N      port for hosts with Kerberos [80]; they are told\n"
      "  --window-hours N       statistics are counted anew every N hours\n"
      "  --window-start HH:MM   beginning with this local time\n" },
    { "allow",
      "Without HOST shows the entries. With the first entry, hosts without one may not replicate\n"
      "here any more.\n"
      "  --storage DIR   where replicas from this host are kept\n"
      "  --group G       hosts of one group may take over from each other [DEFAULT]\n"
      "Examples: vmreplica allow hosta --storage /srv/from-hosta\n"
      "          vmreplica allow '*.example.com' --storage /srv/replicas --group site1\n" },
    { "enable",
      "  --to HOST            the paired host that shall hold the replica, with --auth kerberos\n"
      "                       the full name of any host that allows this one\n"
      "  --auth A             how the two know each other: certificate, or kerberos [certificate]\n"
      "  --port N             the port of that host, when it is not the one that it told\n" SETTINGS
      "  --exclude DISK       leave out a disk (target such as vdb, or path); may be repeated\n"
      "  --start              make the initial copy at once\n"
      "Example: vmreplica enable web01 --to second --interval 30 --start\n" },
    { "start",
      "  --seeded   the replica has content already (vmreplica seed there, or the old disks after\n"
      "             a reversal to another host): compare, and send only what differs\n" },
    { "status",
      "Below the table it says what is wrong, and which machines are off where they should run.\n"
      "  --watch   again every second, until Ctrl-C\n" },
    { "stats", "  --reset   begin the window anew: all is counted from now on\n" },
    { "sync",
      "  --application   hold the guest's file systems for the instant (needs its guest agent);\n"
      "                  exit status 1 when the point did not become application-consistent\n" },
    { "set", SETTINGS
      "  --compression        compress again\n"
      "  --app-hours N        an application-consistent point every N hours, 0: none\n"
      "  --port N             port of the other host\n"
      "  --add-disk DISK      replicate this disk, too (target such as vdb, or path); may be\n"
      "                       repeated. It is sent as a whole, of the others what changed;\n"
      "                       recovery points from then on have it\n"
      "  --remove-disk DISK   replicate it no longer; recovery points so far keep it; may be\n"
      "                       repeated. A disk that was detached from the machine has to be\n"
      "                       removed before replication can go on\n"
      "  --retry-disks        try again to change the disks after it has failed\n"
      "  --on-superseded P    what becomes of the machine here when it was failed over while it\n"
      "                       ran on: leave, pause, shutdown; host: as the configuration says\n"
      "Example: vmreplica set web01 --interval 60\n" },
    { "retention",
      "Without options shows which recovery points are kept; with options changes it.\n"
      "  --every TIME    every point of the last TIME (30m, 1h, ...); of more than 64 the older half\n"
      "                  is thinned out\n"
      "  --hourly N      one point of each of N past hours (RecoveryHistory counts, too)\n"
      "  --daily N       one of each of N past days (UTC)\n"
      "  --weekly N      one of each of N past weeks\n"
      "  --app TIME      make an application-consistent point every TIME, 0: none\n"
      "  --floor         on the replica: what it keeps whatever the primary asks for\n"
      "On the primary they say what is asked for; the larger number counts.\n" },
    { "jobs", "Without ID lists the jobs; with ID shows that one and waits until it is over.\n"
              "  --cancel   end the job instead\n" },
    { "failover",
      "  --planned              shut the primary down first; nothing is lost\n"
      "  --point POINT          unplanned: this recovery point instead of the newest\n"
      "  --force                unplanned: also while the machine runs at the primary (two copies\n"
      "                         then write apart from each other; without it a terminal is asked,\n"
      "                         and anybody else refused), and with --point: also when the point\n"
      "                         is quarantined\n"
      "  --shutdown-timeout S   how long the guest may take to shut down [180]\n"
      "  --no-start             do not start the machine afterwards\n"
      "  --dry-run              change nothing: how old the point is, what would be lost, which\n"
      "                         points are consistent and proven, how the primary stands\n"
      "Unplanned: on the replica. Planned: on either host, while both are up.\n" },
    { "cancel",
      "  --discard              of a failover whose machine runs: turn it off hard and give "
      "up\n"
      "                         what it wrote since the failover\n" },
    { "test",
      "Makes \"MACHINE - Test\" of a recovery point on the replica and starts it, while\n"
      "replication goes on. It writes to overlays of its own.\n"
      "  --point POINT   this recovery point instead of the one that a failover would take\n"
      "  --network NET   all network cards on this libvirt network; without it they are\n"
      "                  connected to nothing (or each as its TestReplicaSwitchName says)\n"
      "  --another       also when there is a test machine already\n"
      "  --no-start      do not start it\n"
      "  --end           turn the test machines off and remove them; stands alone\n" },
    { "export",
      "Serves the disks of a recovery point read-only, by NBD on UNIX sockets of the replica, and\n"
      "prints their URIs. The point stays as it is, also over a failover, until it is closed.\n"
      "  --point POINT   this recovery point (also an orphan or quarantined one) instead of the\n"
      "                  one that a failover would take\n"
      "  --close         end it, with --point that one only\n"
      "  --list          which recovery points are open, and where their disks are read\n"
      "Example: vmreplica export web01; nbdcopy URI vda.raw; vmreplica export web01 --close\n" },
    { "commit", "  --force   also while the machine runs on the old primary, too\n" },
    { "reverse",
      "  --to HOST              replicate to this host instead of the old primary\n"
      "  --stop-old             shut the machine down on the old primary if it still runs there\n"
      "  --force                with --stop-old: turn it off hard\n"
      "  --shutdown-timeout S   how long the guest there may take to shut down [180]\n"
      "  --no-start             do not ship yet what the two hosts wrote apart\n"
      "  --wait                 when the host is away: wait until the reversal is done\n"
      "What the old primary had written and this host never received stays there as an orphan\n"
      "point (vmreplica points on that host).\n" },
    { "disable",
      "On the replica the machine stays, as of the newest recovery point. When that fails (no "
      "room,\n"
      "say) nothing is given up: make room, and do it again.\n"
      "  --discard   also when there are orphan points or pinned ones: all points of this host\n"
      "              are given up\n"
      "  --force     also when the machine was failed over to this host and the old primary\n"
      "              cannot be reached: it may start its old copy before it is told\n"
      "  --abandon   on a replica where it failed: give the recovery points up. The machine goes\n"
      "              from this host; the files stay where they are, as nobody's\n" },
    { "verify",
      "Reads every block of the disks on both hosts and compares them, while replication goes\n"
      "on: a part of each cycle. On the replica the newest recovery point is read first. While "
      "the\n"
      "other host is away the primary waits for it, and says so.\n"
      "  --point POINT  read only this recovery point and compare it with what the primary\n"
      "                 sent for it\n"
      "  --acknowledge  you know about the differences that were found: the health is good\n"
      "                 again, and quarantined points may go; stands alone. If the primary's\n"
      "                 bytes changed by themselves, the quarantined point holds the older\n"
      "                 content; look at it before you acknowledge\n" },
    { "boot",
      "  --anyway   also when the machine was failed over to the other host: two copies then\n"
      "             write apart from each other\n" },
    { "shutdown", "  --force   turn it off hard instead of asking the guest\n" },
};

const char *cli_option_help(const char *verb)
{
    for (size_t i = 0; i < VR_ARRAY_LEN(all); i++)
        if (!strcmp(all[i].verb, verb))
            return all[i].options;
    return "";
}
