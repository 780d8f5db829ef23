/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifndef TESTS_EXCHANGES_SITUATIONS_H
#define TESTS_EXCHANGES_SITUATIONS_H

#include "cim/providers/testways.h"

/* More situations of machine web and of its host, for the recorded exchanges. */

/* A host where every class has something to show: web is a replica bound to an entry, with a test
 * machine and a point that is open for reading; addresses are set; jobs have run. */
void make_rich(struct world *w);
void make_bound(struct world *w);
void make_replica_with_orphan(struct world *w);
void make_waiting_to_reverse(struct world *w); /* the other host does not answer */
void make_superseded(struct world *w);  /* failed over to the other host while this one was away */
void make_left_over(struct world *w);   /* replication could not be ended: there was no room */
void make_running(struct world *w);     /* web and odd have all that libvirt tells, odd is saved */
void make_merging(struct world *w);     /* R 3, points are merged away */
void make_application(struct world *w); /* R 3 with an application-consistent point */
void make_failed_over_to_it(struct world *w); /* R 5, to that point */
void make_every_setting(struct world *w);     /* P 1, no setting has its default */
void make_service_settings(struct world *w);
void make_closed(struct world *w);     /* other hosts are not let in */
void make_port_taken(struct world *w); /* the last job, the host's, has failed */
void make_entries(struct world *w);
void make_connections(struct world *w); /* test networks of web's adapters */
void make_addresses(struct world *w);   /* of web's adapters, for after a failover */
void make_disks(struct world *w);       /* of all kinds and on all controllers */
void make_trouble(struct world *w);     /* P 3, cycles were lost, one is under way */
void make_job_of_another(struct world *w);
void make_warned(struct world *w); /* the last job was completed with warnings */

#endif
