/* SPDX-License-Identifier: MIT */
/* A configuration of Apache (first byte A), lighttpd (L) or nginx (N): nothing of it is trusted.
 * Taken is what no warning is told of. */
#include <assert.h>
#include <string.h>

#include "admin/doctor_config.h"
#include "fuzz/fuzz.h"

#include "common/banned.h"

static void
take_finding(void *context, const struct finding *finding)
{
    size_t *warnings = context;

    assert(strcmp(finding->subject, "config") == 0);
    assert(strncmp(finding->text, "text:", 5) == 0);
    assert(finding->level == FINDING_WARNING || finding->level == FINDING_NOTE);
    *warnings += finding->level == FINDING_WARNING;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t warnings = 0;
    const struct finding_sink sink = { .take = take_finding, .context = &warnings };
    enum reading_server server = SERVER_UNKNOWN;

    if (size > 0)
        server = data[0] == 'A'   ? SERVER_APACHE
                 : data[0] == 'L' ? SERVER_LIGHTTPD
                 : data[0] == 'N' ? SERVER_NGINX
                                  : SERVER_UNKNOWN;
    if (server != SERVER_UNKNOWN)
        config_examine_text(server, (const char *)data + 1, size - 1, &sink);
    fuzz_result(server != SERVER_UNKNOWN && warnings == 0);
    return 0;
}
