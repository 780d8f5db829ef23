/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the daemon says names the properties of the management interface; whoever sits at the
 * command line knows its options. */
#include <ctype.h>
#include <string.h>

#include "base/alloc.h"
#include "base/buf.h"
#include "cli/cli.h"

static const struct {
    const char *property, *words;
} all[] = {
    { "ReplicationInterval", "the interval (--interval)" },
    { "RecoveryHistory", "the number of hourly points (--points)" },
    { "ApplicationConsistentSnapshotInterval",
      "the interval of application-consistent points (--app-hours, retention --app)" },
    { "RecoveryConnectionPoint", "the host (--to)" },
    { "RecoveryServerPortNumber", "the port (--port)" },
    { "AutoResynchronizeInterval", "the time of comparisons (--resync-window)" },
    { "ReplicaStorageLocation", "the storage folder (--storage)" },
    { "AllowedPrimaryHostSystem", "the host" },
    { "TrustGroup", "the group (--group)" },
    { "OnSuperseded", "--on-superseded" },
    { "HttpsPort", "the port (--port)" },
};

char *cli_words(const char *text)
{
    struct vr_buf b = VR_BUF_INIT;
    vr_buf_printf(&b, NULL, "%s", "");
    while (*text) {
        size_t n = 1;
        while (isalpha((unsigned char)text[0]) && isalpha((unsigned char)text[n]))
            n++;
        const char *words = NULL;
        for (size_t i = 0; i < VR_ARRAY_LEN(all) && !words; i++)
            if (strlen(all[i].property) == n && !strncmp(all[i].property, text, n))
                words = all[i].words;
        if (words)
            vr_buf_printf(&b, NULL, "%s", words);
        else
            vr_buf_printf(&b, NULL, "%.*s", (int)n, text);
        text += n;
    }
    return (char *)b.data;
}
